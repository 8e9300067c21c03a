"""The one place that turns what went wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from synthct.data.environment import DEBUG
from synthct.data.errors import MachineError, SynthctError, UsageError
from synthct.data.os_errors import is_disk_full, machine_fault

CLEAN, FAILED, USAGE, EXCLUSIONS = 0, 1, 2, 3
"""Done; failed; wrong command line or params; done, but cases were excluded (and are listed)."""

_EXTRAS = {
    "torch": "train", "monai": "train", "zarr": "train", "nibabel": "train", "s3fs": "train",
    "prefect": "ops", "distributed": "ops", "dask": "ops", "dvc": "ops", "psutil": "ops",
}  # fmt: skip


def guarded(call: Callable[[], int]) -> int:
    """Run a command; whatever stops it is told in one line on the standard error."""
    if os.environ.get(DEBUG):
        return call()
    try:
        return call()
    except SynthctError as fault:
        return _tell(str(fault), USAGE if isinstance(fault, UsageError) else FAILED)
    except KeyboardInterrupt:
        return _tell("stopped; the same command goes on where it left off", FAILED)
    except ModuleNotFoundError as error:
        return _tell(str(_missing_module(error)), FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _tell(str(machine_fault(error)), FAILED)
    except Exception as error:  # noqa: BLE001 - a bug of ours is told in one line too
        if is_disk_full(error):
            return _tell(str(machine_fault(error)), FAILED)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return _tell(f"{text}; this is a bug: {DEBUG}=1 shows where", FAILED)


def _tell(line: str, code: int) -> int:
    sys.stderr.write(f"synthct: {line}\n")
    return code


def _missing_module(error: ModuleNotFoundError) -> MachineError:
    package = (error.name or "").split(".")[0]
    extra = _EXTRAS.get(package)
    return MachineError(
        "the packages that this command needs are installed",
        got=f"no {package!r}",
        remedy=f"pip install 'synthct[{extra}]'"
        if extra
        else "synthct doctor says what is missing",
        code="package-missing",
    )
