"""Exit codes, and the one place that turns an exception into one line on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from synthct.data.environment import DEBUG
from synthct.data.errors import DataError, MachineError, SynthctError, UsageError
from synthct.data.os_errors import is_disk_full, machine_error

CLEAN, FAILED, USAGE, EXCLUSIONS = 0, 1, 2, 3
"""Done; failed or stopped; wrong command line, params or scan; done, but cases were excluded."""

MEANINGS = {
    CLEAN: "done",
    FAILED: "failed, or stopped by Ctrl-C: the same command continues where it stopped",
    USAGE: "wrong usage: command line, params, or a scan that cannot be used; nothing was changed",
    EXCLUSIONS: "done, but cases were excluded; they are listed with the reason",
}
"""The exit codes of every command."""


def table() -> str:
    """Markdown table of the exit codes, for the documentation."""
    rows = [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n"


_EXTRAS = {
    "torch": "train", "monai": "train", "zarr": "train", "nibabel": "train", "s3fs": "train",
    "prefect": "ops", "distributed": "ops", "dask": "ops", "dvc": "ops", "psutil": "ops",
}  # fmt: skip


def guarded(call: Callable[[], int]) -> int:
    """Run a command and return its exit code; an exception becomes one line on standard error.

    With ``$SYNTHCT_DEBUG`` set, exceptions pass through with their traceback.
    """
    if os.environ.get(DEBUG):
        return call()
    try:
        return call()
    except SynthctError as error:
        wrong = isinstance(error, UsageError | DataError)
        return _print_error(str(error), USAGE if wrong else FAILED)
    except KeyboardInterrupt:
        return _print_error(
            "stopped; run it again: the pipeline resumes, a single scan starts anew",
            FAILED,
        )
    except ModuleNotFoundError as error:
        return _print_error(str(_missing_module(error)), FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _print_error(str(machine_error(error)), FAILED)
    except Exception as error:  # noqa: BLE001 - a bug is reported in one line too
        if is_disk_full(error):
            return _print_error(str(machine_error(error)), FAILED)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return _print_error(f"{text}; this is a bug: {DEBUG}=1 shows the traceback", FAILED)


def _print_error(line: str, code: int) -> int:
    sys.stderr.write(f"synthct: {line}\n")
    return code


def _missing_module(error: ModuleNotFoundError) -> MachineError:
    package = (error.name or "").split(".")[0]
    extra = _EXTRAS.get(package)
    return MachineError(
        f"the package {package!r}, which this command needs, is not installed",
        remedy=f"pip install '.[{extra}]'" if extra else "synthct doctor lists what is missing",
        code="package-missing",
    )
