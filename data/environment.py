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
    "where finished units are kept: a folder, `file://` or `s3://`; workers must see the same",
    "`.synthct/units` of the checkout, for all its worktrees",
)
ARRAYS = Variable(
    "SYNTHCT_ARRAYS",
    "where the voxels of stored arrays lie, receipts in their place: an `s3://` prefix or a folder "
    "that all workers see; one prefix belongs to one repository",
    "in the arrays' own folders",
)
ARRAYS_COPIES = Variable(
    "SYNTHCT_ARRAYS_COPIES",
    "folder of their verified local copies, best on a disk of this machine",
    "`.synthct/arrays` of the checkout",
)
ARRAYS_COPIES_GB = Variable(
    "SYNTHCT_ARRAYS_COPIES_GB",
    "size [GB] beyond which unused copies go; copies in use may exceed it",
    "20",
)
CLUSTER = Variable(
    "SYNTHCT_CLUSTER",
    "what `--cluster` is where it is not given, in scheduled runs too",
    "`local`",
)
CLUSTER_FILE = Variable(
    "SYNTHCT_CLUSTER_FILE",
    "what `--cluster slurm` or `kubernetes` asks for: path of a YAML file",
    "`infra/KIND/cluster.yaml` of the checkout",
)
TLS = Variable(
    "SYNTHCT_TLS",
    "folder with `ca.pem`, `node.pem` and `node.key` for `tls://` schedulers",
    "`.synthct/tls` of the checkout, for all its worktrees",
)
TRAINING_PROCESSES = Variable(
    "SYNTHCT_TRAINING_PROCESSES",
    "processes that train one network together, each on a GPU of its own where there are as many; "
    "they make the network that one makes, to rounding",
    "one child on a GPU, none besides the stage's own on a CPU",
)
TENSORBOARD = Variable(
    "SYNTHCT_TENSORBOARD",
    "folder for TensorBoard event files, e.g. `runs`",
    "none are written",
)
PSEUDONYM_KEY = Variable(
    "SYNTHCT_PSEUDONYM_KEY",
    "the key of the pseudonyms as text, at least 16 characters; a secret",
    "`synthct/pseudonym.key` in the user's configuration folder",
)
READER_MIB = Variable(
    "SYNTHCT_READER_MIB",
    "what reading one foreign file may take beyond the reader's process as it starts [MiB]",
    "1250",
)
WEBHOOK_FILE = Variable(
    "SYNTHCT_WEBHOOK_FILE",
    "file with the URL that is told how scheduled runs ended; the URL is a secret",
    "nobody is told",
)
DEBUG = Variable(
    "SYNTHCT_DEBUG",
    "1: errors come with their traceback, and the reader's process may print",
    "one-line errors",
)
RUNS = Variable(
    "SYNTHCT_RUNS",
    "folder of the runs' records",
    "`.synthct/runs` of the checkout",
    internal=True,
)
SERVED_ROOT = Variable(
    "SYNTHCT_SERVED_ROOT",
    "the checkout that `synthct serve` serves",
    "the one around the working directory",
    internal=True,
)
SCHEDULER = Variable(
    "SYNTHCT_SCHEDULER",
    "address of a Dask scheduler (`tcp://` or `tls://`) for a stage's cases",
    "they run in the stage's own process",
    internal=True,
)
GPU_UNITS = Variable(
    "SYNTHCT_GPU_UNITS",
    "set: the workers declare the resource `GPU`, and a unit that wants one takes one of them",
    "units do not ask for a GPU",
    internal=True,
)
EVENTS = Variable(
    "SYNTHCT_EVENTS",
    "file to which a run's events are appended; never a dependency, never in an out",
    "events are dropped",
    internal=True,
)
PARENT_PID = Variable(
    "SYNTHCT_PARENT_PID",
    "process id of what keeps a stage for the flow: the stage dies with it",
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
