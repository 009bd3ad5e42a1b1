"""Ends the process when its terminal hangs up or a signal asks for it: a dropped link must not keep a model on the GPU.

A dropped link usually sends SIGHUP, but not to a process whose parent ignored it, nor to one outside the terminal's
session. Textual would then read end-of-file forever, using a whole core, and its writer thread would die of an EIO,
after which the main thread blocks on a full queue. So a separate thread watches for hang-ups and signals.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

SECONDS_TO_SAVE = 0.5
"""How long saving the session may take once the terminal is gone."""
_SECONDS_TO_LIVE = 1.2
ENDING = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
"""The signals that end a process."""
ENDING_A_RANK = (signal.SIGHUP, signal.SIGINT)
"""Those that end one of several ranks: by SIGTERM torchrun ends all because one was lost, and that is said first."""
_STOP = b"\0"


@contextmanager
def ending_with(
    terminals: Sequence[int],
    before: Callable[[], object] | None = None,
    is_a_program: Callable[[], bool] = lambda: False,
    signals: Sequence[signal.Signals] = ENDING,
) -> Iterator[None]:
    """End the process when one of these terminals hangs up, or on one of these signals, whatever its threads do.

    The exit status is 128 plus the signal's number, SIGHUP's for a hang-up. `terminals` are open file descriptors.
    `before` is called first, in a separate thread, and may take `SECONDS_TO_SAVE`. Without it the signals keep their
    default, which kills the process even while a library holds the interpreter's lock. Where `is_a_program()` says that
    a SIGINT comes in a program of the user's, it is a KeyboardInterrupt there.
    Enter it in the main thread. An ignored signal stays ignored.
    """
    woken, wake = os.pipe()
    watch = threading.Thread(target=_watch, args=(tuple(terminals), woken, before), name="llmdbg-terminal", daemon=True)
    watch.start()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and is_a_program():
            signal.default_int_handler(number, frame)
        os.write(wake, bytes((number,)))

    found = {number: signal.getsignal(number) for number in signals} if before is not None else {}
    handled = {number: was for number, was in found.items() if was is not signal.SIG_IGN}
    for number in handled:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, was in handled.items():
            signal.signal(number, signal.SIG_DFL if was is None else was)
        os.write(wake, _STOP)
        watch.join()
        os.close(woken)
        os.close(wake)


def _watch(terminals: Sequence[int], woken: int, before: Callable[[], object] | None) -> None:
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    for terminal in terminals:
        # Without requested events, poll reports only hang-ups and errors.
        poll.register(terminal, 0)
    while True:
        for descriptor, event in poll.poll():
            if descriptor == woken:
                received = os.read(woken, 1)
                if received == _STOP:
                    return
                end(before, received[0])
            elif event & (select.POLLHUP | select.POLLERR):
                end(before, signal.SIGHUP)
            else:
                poll.unregister(descriptor)


def end(before: Callable[[], object] | None, number: int) -> None:
    """Call `before`, wait for it for at most `SECONDS_TO_SAVE`, and end the process as a signal would."""
    try:
        if before is None:
            return
        # Its watchdog is not a Python thread, so it works even if the interpreter never reaches the last line here.
        with suppress(OSError, ValueError, RuntimeError):
            silent = Path(os.devnull).open("wb")  # noqa: SIM115
            faulthandler.dump_traceback_later(_SECONDS_TO_LIVE, exit=True, file=silent)
        last_deed = threading.Thread(target=before, name="llmdbg-last-deed", daemon=True)
        last_deed.start()
        last_deed.join(SECONDS_TO_SAVE)
    finally:
        os._exit(128 + number)
