"""The keeper: runs a command and kills its whole process group when the parent closes a pipe.

    python -I -S keeper.py HANDLE VARIABLE COMMAND...

HANDLE is the read end of the pipe. The parent closes the write end to end the command; if the
parent is killed, the kernel closes it. ``PR_SET_PDEATHSIG`` would not suffice: it is lost between
fork and exec, and fires when the *thread* that started the child ends. Only the standard library is
imported, so the keeper starts in 20 ms. VARIABLE passes the keeper's process id to the command:
``python -m synthct.tasks`` watches it, in case the keeper itself is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

GRACE_S = 2.0
"""Time between SIGTERM and SIGKILL."""

_PR_SET_CHILD_SUBREAPER = 36


def main(handle: int, parent_variable: str, command: Sequence[str]) -> int:
    """Run the command; returns its exit code, or 128 + the signal that ended it."""
    _adopt_orphans()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    group = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, parent_variable: str(os.getpid())},
    )
    try:
        _wait_for_either(handle, group)
    finally:
        _end(group)
    code = group.returncode
    return code if code >= 0 else 128 - code


def _adopt_orphans() -> None:
    """Become the subreaper, i.e. the parent of every descendant whose own parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _wait_for_either(handle: int, group: subprocess.Popen[bytes]) -> None:
    """Return when the command has ended or the write end of the pipe is closed."""
    finished = os.pidfd_open(group.pid)
    try:
        select.select([handle, finished], [], [])
    finally:
        os.close(finished)


def _end(group: subprocess.Popen[bytes]) -> None:
    if group.poll() is None:
        _signal_group(group.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            group.wait(GRACE_S)
    _signal_group(group.pid, signal.SIGKILL)
    group.wait()
    while orphans := _children():
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _children() -> list[int]:
    """Processes whose parent is this one: orphans that the command left behind."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
                if int(parent) == os.getpid():
                    found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
