"""Runs what a stranger's file makes a library do in a process of its own, with a limit on time, memory and result.

A chat template is a program, and a configuration says how much is built. Neither can be stopped from within: one
expression of either can ask for more memory than there is, in a single call into C. A forked child has every module and
object that it needs, so the result is exactly what this process would have computed.
"""

from __future__ import annotations

import gc
import os
import resource
import selectors
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from llmdbg.formatting import byte_count

_DONE, _FAILED, _NO_MEMORY = b"d", b"f", b"m"
_WALL_FACTOR = 3  # the machine may be busy with something else
_MOST_OF_REASON = 2000  # characters
_TRIES = 3
_SECONDS_ASLEEP = 1.5
_SECONDS_BETWEEN_LOOKS = 0.25
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class BoundExceededError(Exception):
    """The work went beyond a limit. The message says which, as words to follow "it"."""


class WorkFailedError(Exception):
    """The work raised. The message is that of its exception, or the exception's name."""


def run_bounded(work: Callable[[], str], *, seconds: int, memory: int, most: int) -> str:
    """The result of `work()`, computed in a forked child. `work` must neither touch a GPU nor wait for a thread.

    `seconds` limits the processor's time, `memory` what is allocated beyond what is there already, and `most` the
    result, both in bytes. Raises BoundExceededError or WorkFailedError.
    """
    for _ in range(_TRIES - 1):
        with suppress(_FellAsleepError):
            return _run_once(work, seconds, memory, most, may_sleep=False)
    return _run_once(work, seconds, memory, most, may_sleep=True)


class _FellAsleepError(Exception):
    """The child waits for something, and nothing is there to wait for."""


def _run_once(work: Callable[[], str], seconds: int, memory: int, most: int, *, may_sleep: bool) -> str:
    reading, writing = os.pipe()
    try:
        child = _fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise BoundExceededError(f"cannot be run apart from this process ({error.strerror})") from error
    if child == 0:
        _be_child(work, writing, seconds, memory)
    os.close(writing)
    try:
        sleep = None if may_sleep else _Sleep(child)
        written = _read(reading, most, time.monotonic() + seconds * _WALL_FACTOR, sleep)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if written is None:
        raise BoundExceededError(f"takes more than {seconds} seconds")
    if len(written) > most + 1:
        raise BoundExceededError(f"makes more than {byte_count(most)}")
    kind, text = written[:1], written[1:].decode("utf-8", "surrogatepass")
    if kind == _DONE:
        return text
    if kind == _FAILED:
        raise WorkFailedError(text)
    if kind == _NO_MEMORY:
        raise BoundExceededError(f"takes more than {byte_count(memory)} of memory")
    raise BoundExceededError(f"takes more than {seconds} seconds or {byte_count(memory)} of memory")


def _fork() -> int:
    with warnings.catch_warnings():
        # Other threads may hold locks that the child then waits for in vain: it is killed, and another is forked.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


class _Sleep:
    """Whether a child only waits: asleep, and using no processor time. One that has to wait its turn is not asleep."""

    def __init__(self, child: int) -> None:
        self._stat = Path(f"/proc/{child}/stat")
        self._used, self._since = "", time.monotonic()

    def is_too_long(self) -> bool:
        """Look again. False where there is no such thing to read, as outside Linux."""
        try:
            state, *fields = self._stat.read_text().rpartition(")")[2].split()
        except OSError:
            return False
        used = " ".join(fields[10:12])  # user and system time, the 14th and 15th of proc(5)
        if state != "S" or used != self._used:
            self._used, self._since = used, time.monotonic()
        return time.monotonic() - self._since > _SECONDS_ASLEEP


def _read(descriptor: int, most: int, deadline: float, sleep: _Sleep | None) -> bytes | None:
    """What the child writes until it ends, or a little more than `most`. None if it does not end in time.

    Raises _FellAsleepError where `sleep` says so.
    """
    written = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(written) <= most + 1:
            if not selector.select(max(0.0, min(deadline - time.monotonic(), _SECONDS_BETWEEN_LOOKS))):
                if time.monotonic() >= deadline:
                    return None
                if sleep is not None and sleep.is_too_long():
                    raise _FellAsleepError
                continue
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return bytes(written)
            written += piece
    return bytes(written)


def _be_child(work: Callable[[], str], writing: int, seconds: int, memory: int) -> NoReturn:
    """Do the work, write what came of it, and end without running anything of the parent's."""
    try:
        # A finalizer could touch a GPU, which belongs to the parent.
        gc.disable()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        limit(seconds, memory)
        try:
            written = _DONE + work().encode("utf-8", "surrogatepass")
        except MemoryError:
            written = _NO_MEMORY
        except BaseException as error:
            reason = str(error)[:_MOST_OF_REASON] or type(error).__name__
            kind = _NO_MEMORY if "allocate memory" in reason else _FAILED
            written = kind + reason.encode("utf-8", "surrogatepass")
        view = memoryview(written)
        while view:
            view = view[os.write(writing, view) :]
    finally:
        os._exit(0)


def limit(seconds: int, memory: int) -> None:
    """Limit this process: its processor time, and the bytes that it allocates beyond what it has already."""
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_CPU, seconds)
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _set(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def _set(kind: int, limit: int) -> None:
    """Lower a limit, as far as the system lets it be lowered."""
    with suppress(OSError, ValueError):
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
