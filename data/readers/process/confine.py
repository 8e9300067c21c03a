"""Limits of a reader's process: memory, processor time, and the files that it may open.

Memory and time are resource limits. Files are Landlock rules of the Linux kernel (5.13 and newer;
https://docs.kernel.org/userspace-api/landlock.html); on other systems only the readers' own
checks apply.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from synthct.data.environment import READER_MIB

MEMORY_MIB = 1250
"""Memory limit of a request, in addition to that of the idle process [MiB];
``$SYNTHCT_READER_MIB``."""

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_NO_NEW_PRIVS, _PATH_BENEATH = 38, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FIRST_VERSION_RIGHTS = (1 << 13) - 1
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR


def limit_resources(cpu_s: float) -> None:
    """Cap memory, processor time, written bytes and core dumps of this process."""
    page = resource.getpagesize()
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * page
    extra = int(os.environ.get(READER_MIB, MEMORY_MIB)) << 20
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + cpu_s) + 1
    for kind, most in (
        (resource.RLIMIT_AS, mapped + extra),
        (resource.RLIMIT_FSIZE, 4 << 30),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    # The kernel sends SIGXCPU at the soft limit and kills at the hard one: if both were equal, the
    # reason would be lost.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))


def limit_files(reads: Iterable[str], writes: Iterable[str]) -> bool:
    """Restrict this process to the named files and Python's own; False if the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, 0, 1)
    if version < 1:
        return False
    every = _FIRST_VERSION_RIGHTS | (_REFER if version > 1 else 0)
    every |= _TRUNCATE if version > 2 else 0
    rules = libc.syscall(_CREATE, ctypes.byref(ctypes.c_uint64(every)), 8, 0)
    if rules < 0:
        return False
    for path in (*reads, *_python_folders()):
        _allow(libc, rules, path, _READ)
    for path in writes:
        _allow(libc, rules, path, every & ~_EXECUTE)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    done = bool(libc.syscall(_RESTRICT, rules, 0) == 0)
    os.close(rules)
    return done


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not Path(path).is_dir():
        rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE
    rule = struct.pack("=Qi", rights, handle)
    libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0)
    os.close(handle)


@functools.cache
def package_folders() -> tuple[str, ...]:
    """Where foreign packages lie: of this environment, of the user, of the system, of a ``.pth``.

    A folder on the module path counts when it holds installed packages; the checkout, the working
    directory and anything else on the path do not. Packages that an installer linked into
    place (``uv --link-mode symlink``) are followed to where they are.
    """
    found: list[str] = []
    for entry in map(Path, filter(None, sys.path)):
        if not entry.is_dir():
            continue
        if entry.name not in _PACKAGES and not any(entry.glob("*.dist-info")):
            continue
        found.append(str(entry))
        found += [str(each.resolve()) for each in entry.iterdir() if each.is_symlink()]
    return tuple(found)


_PACKAGES = frozenset({"site-packages", "dist-packages"})


def _python_folders() -> list[str]:
    """Where the interpreter and the packages lie: modules may be imported late."""
    places = {*sysconfig.get_paths().values(), sys.base_prefix + "/lib", "/usr/lib", "/lib"}
    places |= set(package_folders())
    return sorted({*places, "/lib64", "/dev/null", "/dev/urandom", "/proc/self", "/proc/meminfo",
                   "/proc/cpuinfo", "/sys/devices/system/cpu", "/etc/ld.so.cache"})  # fmt: skip
