"""How a program ended, and what it says about that as Python would."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_INTERRUPTED = 130
_OPS = "llmdbg.engine.op_stops"
_CALLS_OP = "torch._ops"
"""What runs an op that llmdbg has been handed: torch calls the others without Python."""
_WRAPPERS = frozenset(
    (_OPS, *(f"llmdbg.engine.program.{each}" for each in ("backward_calls", "generate_calls", "generate_ending")))
)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended."""

    code: int
    """Its exit code."""
    why: str | None
    """The exception that ended it, or its exit code if that is not 0; None for a plain end."""
    ended_by: str = "exit"
    """As `StageEvent.ended_by`: `detached` where it runs on, and only its debugging has ended."""


def exit_of(run: Callable[[], None]) -> Exit:
    """Run a program to its end. An exception that it does not catch is reported on stderr by `sys.excepthook`.

    What is no `Exception`, `SystemExit` or `KeyboardInterrupt`, such as the end of its greenlet, is raised.
    """
    try:
        run()
    except SystemExit as asked:
        return _asked_for(asked.code)
    except (Exception, KeyboardInterrupt) as error:
        # The hook shows the traceback that the exception carries.
        error.__traceback__ = _without_wrappers(_of_the_program(error.__traceback__))
        sys.excepthook(type(error), error, error.__traceback__)
        return Exit(_INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1, type(error).__name__)
    return Exit(0, None)


def at_work(threads: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Those for which Python waits at its end, without those of executors that wait for work themselves."""
    return [each for each in threads if _is_at_work(each)]


def _is_at_work(thread: threading.Thread) -> bool:
    if thread.daemon or not thread.is_alive() or thread is threading.current_thread() or thread.ident is None:
        return False
    frame = sys._current_frames().get(thread.ident)
    name = "" if frame is None else str(frame.f_globals.get("__name__"))
    return frame is not None and not (name == "concurrent.futures.thread" and frame.f_code.co_name == "_worker")


def _asked_for(code: Any) -> Exit:
    if code is None or isinstance(code, int):
        number = 0 if code is None else code & 0xFF
        return Exit(number, f"exit code {number}" if number else None)
    sys.stderr.write(f"{code}\n")
    return Exit(1, "exit code 1")


def _of_the_program(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames that have started the program."""
    while traceback is not None and traceback.tb_next is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if not module.startswith("llmdbg.") and module != "runpy" and "runpy" not in module:
            break
        traceback = traceback.tb_next
    return traceback


def _without_wrappers(traceback: TracebackType | None) -> TracebackType | None:
    """The same traceback without the frames of what llmdbg has wrapped."""
    each = traceback
    while each is not None:
        following, before = each.tb_next, ""
        while following is not None:
            name = str(following.tb_frame.f_globals.get("__name__"))
            if name not in _WRAPPERS and (before, name) != (_OPS, _CALLS_OP):
                break
            following, before = following.tb_next, name
        each.tb_next = following
        each = following
    return traceback
