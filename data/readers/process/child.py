"""The reader's side: a warm process that forks for each request; the fork answers and exits."""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

from synthct.data.environment import READER_MIB
from synthct.data.errors import DataError, SynthctError
from synthct.data.readers.process import confine, memory, wire

_MODULES = (".py", ".pyc", ".so")


_PRELOADED = (
    "synthct.data.readers.requests",
    "synthct.data.readers.reference_series",
    "pydicom.pixels",
    "gdcm",
)
"""Imported once: every fork inherits them."""


def main(handle: int) -> None:
    """Serve requests until the other side closes the channel."""
    channel = socket.socket(fileno=handle)
    memory.share()
    try:
        for name in _PRELOADED:
            importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 reported to the caller
        wire.send(channel, {"import": f"{type(error).__name__}: {error}"})
        return
    confine.package_folders()  # looked up once, before the forks
    wire.send(channel, {"ready": True})
    while True:
        try:
            request = wire.receive(channel)
        except (EOFError, OSError):
            return
        if failed := _imported([request["module"], *request["preload"]]):
            wire.send(channel, {"import": failed})
            wire.send(channel, {"ended": 0})
            continue
        child = os.fork()
        if child == 0:
            _answer(channel, request)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        wire.send(channel, {"ended": code})


def _imported(names: list[str]) -> str:
    """Import them once, so that the forks inherit them; returns the error, or ""."""
    try:
        for name in names:
            importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 reported to the caller
        return f"{type(error).__name__}: {error}"
    return ""


def _answer(channel: socket.socket, request: dict[str, Any]) -> None:
    try:
        with contextlib.suppress(OSError):  # absolute paths do without
            os.chdir(request["folder"])
        confine.limit_files(request["reads"], request["writes"])
        confine.limit_resources(request["cpu_s"])
        answer = _result(request)
        used = resource.getrusage(resource.RUSAGE_SELF)
        answer["peak_bytes"], answer["cpu_s"] = _peak_bytes(), used.ru_utime + used.ru_stime
        wire.send(channel, answer)
    except BaseException:  # noqa: BLE001 the fork must end here, whatever happens
        os._exit(70)
    os._exit(0)


def _result(request: dict[str, Any]) -> dict[str, Any]:
    function = getattr(importlib.import_module(request["module"]), request["function"])
    try:
        return {"result": function(**request["arguments"])}
    except SynthctError as error:
        return {"error": {"kind": type(error).__name__, **error.as_json()}}
    except MemoryError:
        pass
    except ImportError as error:
        return {"import": f"{type(error).__name__}: {error}"}
    except OSError as error:
        if str(error.filename).endswith(_MODULES):  # on the module path, but not readable here
            return {"import": f"{type(error).__name__}: {error}"}
        return {"system": f"{type(error).__name__}: {error}"}
    except Exception as error:  # noqa: BLE001 a damaged header surprises a parser in many ways
        return {"error": f"{type(error).__name__}: {error}"}
    too_large = DataError(
        "reading the scan needs more memory than its reader may use",
        rule="a scan fits into the memory limit of its reader",
        remedy=f"crop or resample it, or raise {READER_MIB}",
        code="too-large",
    )
    return {"error": {"kind": "DataError", **too_large.as_json()}}


def _peak_bytes() -> int:
    """Largest resident memory of this process (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main(int(sys.argv[1]))
