"""Messages: what each side may send, within its bounds, and nothing else."""

import json

import pytest

from llmdbg.frontends.wire.frames import PREAMBLE, FrameError, FrameReader
from llmdbg.frontends.wire.messages import (
    HOLDERS,
    ORDERS,
    REPORTS,
    SCREENS,
    Attach,
    Ended,
    Ends,
    Modes,
    Place,
    Role,
    Shown,
    TakeOver,
    packed,
    unpacked,
)


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (SCREENS, Attach(80, 24, {"TERM": "xterm"}, takes_over=True)),
        (SCREENS, TakeOver()),
        (HOLDERS, Role("ab", drives=False, columns=80, lines=24)),
        (HOLDERS, Role("ab", drives=True, columns=80, lines=24, session="s", ranks=4)),
        (HOLDERS, Ended(-9, "memory", lost=True, session="x")),
        (ORDERS, Shown(3, {"LANG": "C"})),
        (REPORTS, Modes(3, "\x1b[?1049h")),
        (REPORTS, Ends(2)),
        (REPORTS, Place("m", "layer 1", "s", working=False)),
    ],
)
def test_a_message_comes_as_it_was_sent(decoder, message):
    ((_, payload),) = FrameReader().take(PREAMBLE + packed(message))
    assert unpacked(decoder, payload) == message


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\xff\xfe",
        b"[" * 5000,
        b"null",
        {"message": "role", "id": "a", "drives": True, "columns": 80, "lines": 24},
        {"message": "resize", "columns": 0, "lines": 24},
        {"message": "resize", "columns": 80, "lines": 10**6},
        {"message": "resize", "columns": "80", "lines": 24},
        {"message": "resize", "columns": 80, "lines": 24, "more": 1},
        {"message": "attach", "columns": 80, "lines": 24, "environment": {"TERM": "x" * 2000}},
        {"message": "attach", "columns": 80, "lines": 24, "environment": {str(n): "" for n in range(50)}},
    ],
)
def test_what_a_screen_may_not_send_is_refused(sent):
    payload = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    with pytest.raises(FrameError, match="cannot be read"):
        unpacked(SCREENS, payload)
