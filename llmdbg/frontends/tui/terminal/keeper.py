"""A process of its own that gives the terminal back when llmdbg cannot: killed, or ended by a bus error.

Run as a program with nothing but the standard library. It reads what llmdbg reports until llmdbg has ended:

- `OPENED` and `CLOSED`: whether llmdbg has the terminal;
- `CAN_GO_ON`: that there is now something to go on with once llmdbg was killed;
- what `faulthandler` says of a fatal error.

Arguments: the line settings the terminal had (what `termios.tcgetattr` gave, in Python's notation), the log
file, and what the user can do once there is something to go on with.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import sys
import termios
from contextlib import suppress
from typing import Any

OPENED, CLOSED, CAN_GO_ON = b"\x01", b"\x02", b"\x03"
_MARKS = (*OPENED, *CLOSED, *CAN_GO_ON)
# In the order of Textual's own: what begins before the other screen is left has to end before.
AS_IT_WAS = (
    "\x1b[?2026l\x1b[?2004l\x1b[?2048l\x1b[?7h\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[0m\x1b[<u"
    "\x1b[?1049l\x1b[?25h\x1b[?1004l"
)
"""The bytes that undo what the screen has set."""
_SECONDS_TO_GIVE_BACK = 20
_TERMINAL = 1
_FATAL = re.compile(rb"Fatal Python error: ([A-Za-z ]+)")
_REASONS = {
    b"Bus error": "a file that it had mapped, such as the model's weights, was truncated or could not be read (SIGBUS)",
}
_MOST_BYTES = 1 << 20


def main() -> None:
    """Wait for the end of llmdbg, and do what it could not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)
    report, is_open, can_go_on = _until_the_end()
    if is_open:
        # A terminal that nobody reads takes nothing.
        signal.alarm(_SECONDS_TO_GIVE_BACK)
        with suppress(OSError, termios.error):
            give_back(ast.literal_eval(sys.argv[1]), report, sys.argv[3] if can_go_on else "")
    if report:
        with suppress(OSError):
            _append(sys.argv[2], report + b"\n")


def _until_the_end() -> tuple[bytes, bool, bool]:
    """What was said of a fatal error, whether llmdbg had the terminal at its end, and whether there is a way on."""
    report, is_open, can_go_on = b"", False, False
    while data := os.read(0, 65536):
        can_go_on = can_go_on or CAN_GO_ON in data
        marks = [mark for mark in data if bytes((mark,)) in (OPENED, CLOSED)]
        is_open = marks[-1:] == list(OPENED) if marks else is_open
        report = (report + data.translate(None, bytes(_MARKS)))[:_MOST_BYTES]
    return report, is_open, can_go_on


def give_back(settings: list[Any], report: bytes, way_on: str) -> None:
    """Put the terminal's modes and line settings back, and say in a line what has happened and what is to be done."""
    # Once a shell has taken the terminal over, its line settings are the shell's.
    if not _is_a_shells():
        termios.tcsetattr(_TERMINAL, termios.TCSANOW, settings)
    said = "; ".join(each for each in (_reason(report), way_on) if each)
    os.write(_TERMINAL, f"{AS_IT_WAS}llmdbg: {said}\r\n".encode())


def _is_a_shells() -> bool:
    """Whether another process group has the terminal; not known where it controls nobody here, as under torchrun."""
    try:
        return os.tcgetpgrp(_TERMINAL) != os.getpgrp()
    except OSError:
        return False


def _append(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.write(log, data)
    os.close(log)


def _reason(report: bytes) -> str:
    fatal = _FATAL.search(report)
    if fatal is None:
        return "it was killed"
    return _REASONS.get(fatal[1], f"it ended with a fatal error ({fatal[1].decode('ascii')})")


if __name__ == "__main__":
    main()
