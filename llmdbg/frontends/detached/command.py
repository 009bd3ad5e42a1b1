"""`llmdbg attach`: lists the engines that stand, takes one up again, or ends one."""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.formatting import byte_count
from llmdbg.frontends import output
from llmdbg.frontends.detached.folder import connect, id_that_begins, known_ids, short
from llmdbg.frontends.wire.frames import PREAMBLE, FrameError, FrameReader, Kind
from llmdbg.frontends.wire.messages import (
    HOLDERS,
    Ask,
    End,
    Ended,
    FromScreen,
    Refused,
    Status,
    ToScreen,
    packed,
    unpacked,
)

_SECONDS_TO_ANSWER, _SECONDS_TO_END = 5.0, 15.0
_EPILOG = """\
An engine started with --detachable stands at its stop, the model in memory, when its terminal is closed, its link
drops, or Q or q leaves it. With one engine, `llmdbg attach` takes it up at once; with several it lists them.
Where another screen drives, this one watches, and Enter takes over. An engine that nobody looks at ends after 12 hours
in which nothing ran (idle_hours of [detachable] in the configuration file); its session is saved all the time.
"""


def attach(arguments: Sequence[str]) -> int:
    """Run `llmdbg attach`. Returns the exit code. Raises LlmdbgError."""
    options = _parser().parse_args(arguments)
    ids = known_ids()
    if options.id:
        return _act(options, id_that_begins(options.id, ids))
    standing = [each for each in map(_status, ids) if each is not None]
    if options.list or (len(standing) > 1 and not options.end):
        output.write_lines(_lines(standing) if standing else ["no engine is standing"])
        if not options.list:
            output.complain("there are several: `llmdbg attach ID` takes one up")
        return 0 if options.list else 2
    if not standing:
        raise UsageError("no engine is standing: `llmdbg MODEL -p TEXT --detachable` starts one")
    if len(standing) > 1:
        raise UsageError("there are several engines: say which one to end (`llmdbg attach --list`)")
    return _act(options, standing[0].id)


def _parser() -> output.Parser:
    parser = output.Parser(
        prog="llmdbg attach",
        description="Take up an engine that outlived its screen, where it stands.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="the beginning of an engine's id")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="only list the engines")
    what.add_argument("--take-over", action="store_true", help="drive at once, even if another screen does")
    what.add_argument("--end", action="store_true", help="end the engine; its session is saved")
    return parser


def _act(options: argparse.Namespace, id: str) -> int:
    """Do with one engine what was asked for."""
    if options.list:
        status = _status(id)
        output.write_lines(_lines([status]) if status is not None else [])
        return 0
    if options.end:
        return _end(id)
    if not output.is_on_a_terminal():
        raise UsageError("the screen needs a terminal (`llmdbg attach --list` and --end need none)")
    connected = connect(id)
    if connected is None:
        raise UsageError(f"the engine {short(id)} has ended")
    from llmdbg.frontends.detached.relay import Relay

    return Relay(connected, id).run(attaches=True, takes_over=options.take_over)


def _end(id: str) -> int:
    for answer in _answers(id, End(), _SECONDS_TO_END):
        if isinstance(answer, Ended):
            output.narrate(f"the engine {short(id)} has ended")
            return 0
        if isinstance(answer, Refused):
            raise LlmdbgError(answer.reason)
    raise LlmdbgError(
        f"the engine {short(id)} does not say that it has ended: `llmdbg attach --list` shows its process"
    )


def _status(id: str) -> Status | None:
    """How an engine stands; None if it does not answer: then it has just ended, or is of another version."""
    with suppress(LlmdbgError):
        return next((each for each in _answers(id, Ask(), _SECONDS_TO_ANSWER) if isinstance(each, Status)), None)
    return None


def _answers(id: str, question: FromScreen, seconds: float) -> Iterator[ToScreen]:
    """Ask an engine's holder something. Yields what it says until it has no more to say, or the time is over."""
    connected = connect(id)
    if connected is None:
        return
    with connected:
        try:
            connected.sendall(PREAMBLE + packed(question))
            yield from _messages(connected, time.monotonic() + seconds)
        except (OSError, FrameError) as error:
            raise LlmdbgError(f"the engine {short(id)} cannot be understood: {error}") from error


def _messages(connected: socket.socket, until: float) -> Iterator[ToScreen]:
    reader = FrameReader()
    while (left := until - time.monotonic()) > 0:
        connected.settimeout(left)
        data = connected.recv(65536)
        if not data:
            return
        for kind, payload in reader.take(data):
            if kind is Kind.MESSAGE:
                yield unpacked(HOLDERS, payload)


def _lines(standing: Sequence[Status]) -> list[str]:
    """A table of engines."""
    rows = [("ID", "MODEL", "STANDS AT", "SINCE", "SCREENS", "MEMORY", "ENDS")]
    for each in sorted(standing, key=lambda status: status.since):
        since = datetime.fromtimestamp(each.since).astimezone()
        rows.append(
            (
                short(each.id),
                each.model if each.ranks == 1 else f"{each.model} on {each.ranks} ranks",
                each.place,
                f"{since:%Y-%m-%d %H:%M}",
                str(each.screens) if each.screens else "none",
                _memory(each.pid),
                _ends(each.ends_in),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _memory(pid: int) -> str:
    """How much main memory a process has."""
    import psutil

    try:
        return byte_count(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return "?"


def _ends(seconds: float | None) -> str:
    if seconds is None:
        return "not while it is used"
    minutes = int(seconds / 60)
    return f"in {minutes // 60} h {minutes % 60} min if nobody attaches"
