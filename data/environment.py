"""Every environment variable of synthct; no other module spells their names.

A variable sets where something runs or is stored and never changes a result, so this file is part
of no key (``tasks/pipeline/code.py``). ``python -m synthct.data.environment`` prints the table of
the documentation.
"""

from __future__ import annotations

import os
import sys


class Variable(str):
    """The name of a variable, a ``str`` with its meaning.

    Parameters
    ----------
    name
        Of the variable.
    meaning
        For the documentation.
    default
        Meaning of an unset variable.
    internal
        Whether synthct sets it for its own processes; users need not.
    """

    __slots__ = ("default", "internal", "meaning")

    meaning: str
    default: str
    internal: bool

    def __new__(cls, name: str, meaning: str, default: str, *, internal: bool = False) -> Variable:
        """Declare it."""
        made = super().__new__(cls, name)
        made.meaning, made.default, made.internal = meaning, default, internal
        VARIABLES.append(made)
        return made

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Pickled as its name alone."""
        return str, (str(self),)

    def get(self) -> str:
        """Its value; "" where it is not set."""
        return os.environ.get(self, "")


VARIABLES: list[Variable] = []
"""All of them, in the order of the table."""

UNITS = Variable(
    "SYNTHCT_UNITS",
    "result cache: a folder, `file://` or `s3://` URL; workers must see the same one",
    "`.synthct/units` of the checkout, shared by its worktrees",
)
ARRAYS = Variable(
    "SYNTHCT_ARRAYS",
    "folder, `file://` or `s3://` prefix for the voxels of stored volumes; one prefix per "
    "repository",
    "none: in the volumes' own folders",
)
ARRAYS_COPIES = Variable(
    "SYNTHCT_ARRAYS_COPIES",
    "folder for verified local copies of such voxels, preferably on a local disk",
    "`.synthct/arrays` of the checkout",
)
ARRAYS_COPIES_GB = Variable(
    "SYNTHCT_ARRAYS_COPIES_GB",
    "size above which unused copies are removed [GB]; copies in use may exceed it",
    "20",
)
CLUSTER = Variable(
    "SYNTHCT_CLUSTER",
    "where cases run when `--cluster` is not given, in scheduled runs too",
    "`local`",
)
CLUSTER_FILE = Variable(
    "SYNTHCT_CLUSTER_FILE",
    "YAML file that describes the Slurm or Kubernetes cluster",
    "`infra/KIND/cluster.yaml` of the checkout",
)
TLS = Variable(
    "SYNTHCT_TLS",
    "folder with `ca.pem`, `node.pem` and `node.key` of a `tls://` cluster",
    "`.synthct/tls` of the checkout, shared by its worktrees",
)
TRAINING_PROCESSES = Variable(
    "SYNTHCT_TRAINING_PROCESSES",
    "processes that train one network together, one GPU each where there are enough",
    "1",
)
TENSORBOARD = Variable(
    "SYNTHCT_TENSORBOARD",
    "folder for TensorBoard files of training, for example `runs`",
    "none are written",
)
PSEUDONYM_KEY = Variable(
    "SYNTHCT_PSEUDONYM_KEY",
    "secret key of the pseudonyms as text, at least 16 characters; takes precedence over the file",
    "the file that `synthct key --new` made, `~/.config/synthct/pseudonym.key`",
)
READER_MIB = Variable(
    "SYNTHCT_READER_MIB",
    "memory that reading one foreign file may take [MiB]",
    "1250",
)
WEBHOOK_FILE = Variable(
    "SYNTHCT_WEBHOOK_FILE",
    "file with the URL that `synthct serve` posts to when a run ends; the URL is a secret",
    "no message is sent",
)
DEBUG = Variable(
    "SYNTHCT_DEBUG",
    "`1`: print tracebacks and the messages of the reader's process",
    "one-line errors",
)
RUNS = Variable(
    "SYNTHCT_RUNS",
    "folder of the records of runs",
    "`.synthct/runs` of the checkout",
    internal=True,
)
SERVED_ROOT = Variable(
    "SYNTHCT_SERVED_ROOT",
    "checkout that `synthct serve` runs in",
    "the one around the working directory",
    internal=True,
)
SCHEDULER = Variable(
    "SYNTHCT_SCHEDULER",
    "address of the Dask scheduler (`tcp://` or `tls://`) for the cases of a stage",
    "cases run in the stage's own process",
    internal=True,
)
GPU_UNITS = Variable(
    "SYNTHCT_GPU_UNITS",
    "set: workers declare the resource `GPU`, and a unit that needs one takes one",
    "units do not ask for a GPU",
    internal=True,
)
EVENTS = Variable(
    "SYNTHCT_EVENTS",
    "file that events of a run are appended to",
    "events are dropped",
    internal=True,
)
PARENT_PID = Variable(
    "SYNTHCT_PARENT_PID",
    "process whose end also ends the stage",
    "the stage was started by hand",
    internal=True,
)


def table() -> str:
    """Markdown table for the documentation: variables of users, then internal ones."""
    lines = ["| variable | meaning | where it is not set |", "|---|---|---|"]
    for each in sorted(VARIABLES, key=lambda each: each.internal):
        name = f"`{each}` (set by synthct)" if each.internal else f"`{each}`"
        lines.append(f"| {name} | {each.meaning} | {each.default} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
