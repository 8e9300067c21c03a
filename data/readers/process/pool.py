"""The caller's side: warm reader processes, one for each concurrent thread."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from synthct.data import errors
from synthct.data.environment import DEBUG, READER_MIB
from synthct.data.errors import DataError, MachineError, SynthctError
from synthct.data.readers.process import memory, wire

CPU_S = 8.0
"""Processor time of any request [s]."""

BYTES_A_CPU_S = 2 << 20
"""Bytes of source per additional processor second; slow decoders reach 5 MB/s."""

WALL_FACTOR = 10.0
"""Allowed ratio of wall time to processor time, for busy machines."""

START_S = 120.0
"""Longest start of a new process, with its imports [s]."""

_KINDS = {"DataError", "UsageError", "MachineError"}

_idle: list[_Reader] = []
_lock = threading.Lock()
last_peak_bytes, last_cpu_s = 0, 0.0
"""Largest resident memory and processor time of the latest request: for tests and benchmarks."""


def call(
    function: Callable[..., Any],
    *,
    reads: Iterable[Path],
    writes: Iterable[Path] = (),
    preload: Iterable[str] = (),
    more_cpu_s: float = 0.0,
    **arguments: Any,
) -> Any:
    """``function(**arguments)`` in a capped process that can open nothing but what is named.

    Parameters
    ----------
    function
        A function at the top of one of our modules. It takes JSON values and returns JSON values
        that may contain numpy arrays; the errors that it raises are raised here.
    reads
        Sources: files or folders that it may read.
    writes
        Folders below which it may write.
    preload
        Libraries that it needs and that are slow to import: imported once, before the fork.
    more_cpu_s
        Processor seconds beyond those that reading takes: drawing and writing masks.

    Raises
    ------
    DataError
        What the function raised, and ``reader-stopped`` when its process died or took too long:
        a file that brings down its parser brings down nothing else.
    MachineError
        The process cannot be started, or a source cannot be read (permissions, disk).
    """
    if memory.inside_reader():
        return function(**arguments)
    sources = [Path(path).absolute() for path in reads]
    request = {
        "module": function.__module__,
        "function": function.__qualname__,
        "arguments": arguments,
        # The reader's working directory is the caller's at its start, so paths are made absolute.
        "folder": _working_folder(),
        "preload": list(preload),
        # Links are followed here: a source may be a link, links below it may not lead out.
        "reads": [str(path.resolve()) for path in sources] + [str(path) for path in sources],
        "writes": [str(Path(path).absolute()) for path in writes],
        "cpu_s": CPU_S + more_cpu_s + sum(_bytes(path) for path in sources) / BYTES_A_CPU_S,
    }
    where = str(sources[0]) if sources else function.__qualname__
    answer = _request_answer(request, where)
    return _unpacked(answer, where)


def _request_answer(request: dict[str, Any], where: str) -> dict[str, Any]:
    """The answer; after a crash the request is repeated once in a new process."""
    ended = 0
    for _attempt in range(2):
        reader = _take()
        try:
            answer, ended = reader.ask(request)
        except (TimeoutError, EOFError, OSError, ValueError) as error:
            reader.stop()
            if isinstance(error, TimeoutError):
                raise _stopped(where, "reading the file takes too long") from error
            continue
        _give_back(reader)
        if answer is not None:
            return answer
        if ended == -signal.SIGXCPU:
            raise _stopped(where, "reading the file takes too long")
    raise _stopped(where, f"the file crashes its reader (exit status {ended})")


def _unpacked(answer: dict[str, Any], where: str) -> Any:
    global last_peak_bytes, last_cpu_s
    last_peak_bytes, last_cpu_s = int(answer.get("peak_bytes", 0)), float(answer.get("cpu_s", 0))
    if "result" in answer:
        return answer["result"]
    if "error" in answer:
        raise error_from_json(answer["error"], where)
    if "import" in answer:
        raise _package_unreadable(answer["import"])
    if "system" in answer:
        raise MachineError(
            answer["system"],
            where=where,
            rule="a source is readable",
            remedy="check its permissions and the disk",
            code="cannot-read",
        )
    raise DataError(
        f"the file cannot be parsed ({answer['error']})",
        where=where,
        rule="a scan is readable",
        remedy="copy or export it again",
        code="unreadable",
    )


def error_from_json(row: dict[str, str], where: str) -> SynthctError:
    """The error that ``SynthctError.as_json`` (with its ``kind``) describes."""
    kind = getattr(errors, row["kind"]) if row.get("kind") in _KINDS else DataError
    error: SynthctError = kind.from_json({**row, "where": row["where"] or where})
    return error


def _package_unreadable(problem: str) -> MachineError:
    """The error if the reader's process cannot import a package that this process can."""
    return MachineError(
        problem,
        rule="the process that reads foreign files can import the packages that it needs",
        where=sys.executable,
        remedy="the reader may open the folders of installed packages on the module path: install "
        "the package into this environment; `synthct doctor` lists what is missing",
        code="reader-package",
    )


def _stopped(where: str, problem: str) -> DataError:
    return DataError(
        problem,
        where=where,
        rule="a scan is readable",
        remedy="copy or export it again",
        code="reader-stopped",
    )


def _working_folder() -> str:
    """Base of relative paths; / where the working directory was removed."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "/"


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0


class _Reader:
    """One warm process and the channel to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {
            name: os.environ[name]
            for name in ("PATH", "LD_LIBRARY_PATH", READER_MIB, "LANG")
            if name in os.environ
        }
        search = [str(Path(path).absolute()) for path in sys.path if path]
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "ITK")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "synthct.data.readers.process.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**environment, **threads, "PYTHONPATH": os.pathsep.join(search)},
            process_group=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Decoders print what they read: it may name a patient.
            stderr=None if DEBUG.get() else subprocess.DEVNULL,
        )
        theirs.close()
        self.channel = ours
        ours.settimeout(START_S)
        try:
            started = wire.receive(ours)
        except (EOFError, OSError) as error:
            self.stop()
            raise MachineError(
                f"the process of the readers did not start (exit code {self.process.returncode})",
                rule="the readers run in a process of their own",
                remedy=f"set {DEBUG}=1 to see why",
                code="no-reader",
            ) from error
        if "import" in started:
            self.stop()
            raise _package_unreadable(started["import"])

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any] | None, int]:
        """The answer (None if the process died without one) and its exit code."""
        self.channel.settimeout(request["cpu_s"] * WALL_FACTOR)
        wire.send(self.channel, request)
        answer = None
        while "ended" not in (message := wire.receive(self.channel)):
            answer = message
        return answer, int(message["ended"])

    def stop(self) -> None:
        """End the process and whatever it forked."""
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _take() -> _Reader:
    with _lock:
        if _idle:
            return _idle.pop()
    return _Reader()


def _give_back(reader: _Reader) -> None:
    with _lock:
        _idle.append(reader)


def _stop_all() -> None:
    while _idle:
        _idle.pop().stop()


def _forget_all() -> None:
    """In a fork: the processes belong to the parent."""
    global _lock
    _lock = threading.Lock()
    for reader in _idle:
        reader.channel.close()
    _idle.clear()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_forget_all)
