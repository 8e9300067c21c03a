"""Start child processes that end with this process, however it ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from synthct.data.environment import PARENT_PID
from synthct.flows.processes import keeper

_PATIENCE_S = keeper.GRACE_S + 3.0


class SupervisedProcess:
    """A command that runs under a keeper process (see ``flows/processes/keeper.py``).

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Working directory.
    environment
        The whole environment of the command.
    output
        An open file for its output, or None to read it through :meth:`lines`.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        output: IO[bytes] | None = None,
    ) -> None:
        reader, self._holding = os.pipe()
        try:
            self._keeper = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(keeper.__file__)),
                    *(str(reader), str(PARENT_PID), *command),
                ],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if output is None else output,
                stderr=subprocess.STDOUT,
                pass_fds=(reader,),
                start_new_session=True,  # Ctrl-C reaches only this process, which then stops it
            )
        except BaseException:
            os.close(self._holding)
            raise
        finally:
            os.close(reader)

    @property
    def pid(self) -> int:
        """Process id of the keeper."""
        return self._keeper.pid

    def ended(self) -> int | None:
        """Exit code of the command, or None while it runs."""
        return self._keeper.poll()

    def wait(self) -> int:
        """Wait for the command to end by itself and return its exit code."""
        return self._keeper.wait()

    def lines(self, idle_s: float) -> Iterator[str | None]:
        """Lines of output until the end; None after every ``idle_s`` seconds without output."""
        stream = self._keeper.stdout
        assert stream is not None, "output goes to a file"
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                if not selector.select(idle_s):
                    yield None
                    continue
                block = os.read(stream.fileno(), 1 << 16)
                if not block:
                    break
                *whole, rest = (rest + block).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
        if rest:
            yield rest.decode(errors="replace")

    def stop(self) -> None:
        """End the command and all its descendants; does nothing if it has ended."""
        if self._holding >= 0:
            os.close(self._holding)
            self._holding = -1
        try:
            self._keeper.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        if self._keeper.stdout is not None:
            self._keeper.stdout.close()

    def __enter__(self) -> SupervisedProcess:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()


class RestartingProcess:
    """A command that is restarted when it exits, or has not answered for ``hung_s``.

    The pause before a restart doubles with each exit up to ``LONGEST_WAIT_S``, and is reset once a
    process has run for ``STEADY_S``.

    Parameters
    ----------
    name
        Name of the process in messages.
    command
        Program and arguments; a port in it must be fixed, so that restarts use the same.
    folder
        Working directory.
    output
        Open file for the output of all its processes.
    say
        Called with a message at each restart.
    answers
        Whether it answers; asked every ``ASK_EVERY_S``. None: it is not asked.
    hung_s
        Time without an answer, since the last or since the start, after which it is ended [s].
    """

    LOOK_EVERY_S = 0.5
    ASK_EVERY_S = 10.0
    LONGEST_WAIT_S = 30.0
    STEADY_S = 60.0

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        output: IO[bytes],
        say: Callable[[str], None],
        answers: Callable[[], bool] | None = None,
        hung_s: float = 300.0,
    ) -> None:
        self._name, self._command, self._folder = name, command, folder
        self._output, self._say = output, say
        self._answers, self._hung_s = answers, hung_s
        self._asked_s = self._answered_s = 0.0
        self._environment = dict(os.environ)
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="revive")

    def start(self) -> None:
        """Start the process."""
        self.process = SupervisedProcess(
            self._command, folder=self._folder, environment=self._environment, output=self._output
        )
        self._started_s = time.monotonic()

    def watch(self) -> None:
        """Restart the process from now on when it exits."""
        self._watcher.start()

    def _watch(self) -> None:
        wait_s = self.LOOK_EVERY_S
        while not self._ending.wait(self.LOOK_EVERY_S):
            hangs = self._hangs()
            if self.process.ended() is None and not hangs:
                continue
            if time.monotonic() - self._started_s > self.STEADY_S:
                wait_s = self.LOOK_EVERY_S
            exited = f"exited ({self.process.ended()})"
            silent = f"has not answered for {self._hung_s:.0f} s"
            self._say(f"{self._name} {silent if hangs else exited} and is restarted")
            self.process.stop()
            if self._ending.wait(wait_s):
                return
            wait_s = min(2 * wait_s, self.LONGEST_WAIT_S)
            with contextlib.suppress(OSError):  # no memory or process: retried in the next round
                self.start()

    def _hangs(self) -> bool:
        """Whether it runs but has been silent for too long."""
        now_s = time.monotonic()
        if self._answers is None or now_s - self._asked_s < self.ASK_EVERY_S:
            return False
        self._asked_s = now_s
        if self.process.ended() is not None or self._answers():
            self._answered_s = now_s
        return now_s - max(self._answered_s, self._started_s) > self._hung_s

    def stop(self) -> None:
        """Stop the process, all its descendants, and the restarting."""
        self._ending.set()
        if self._watcher.is_alive():
            self._watcher.join()
        if hasattr(self, "process"):
            self.process.stop()


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process, and so of its children, for the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
