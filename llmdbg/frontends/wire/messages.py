"""The messages between an engine, its holder and its screens: JSON objects, checked field by field.

A screen sends `Attach`, `Resize`, `TakeOver`, `Repaint`, `Ask` and `End`; the holder answers with `Role`, `Released`,
`Refused`, `Status` and `Ended`. The holder sends `Shown` and `Close` to its engine, which sends `Modes`, `Place`,
`Release`, `Lost` and `Ends`. Nothing but these is accepted, and no field beyond its bounds.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from llmdbg.frontends.wire.frames import FrameError, Kind, frame

Cells = Annotated[int, Meta(ge=1, le=10_000)]
Text = Annotated[str, Meta(max_length=1_000)]
Pid = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Ranks = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Environment = Annotated[dict[Annotated[str, Meta(max_length=40)], Text], Meta(max_length=20)]

TERMINAL = ("TERM", "COLORTERM", "COLORFGBG", "NO_COLOR", "TMUX", "STY", "TERM_PROGRAM", "LANG", "LC_ALL", "LC_CTYPE")
"""The environment variables that say what a terminal can show."""


class Message(Struct, frozen=True, forbid_unknown_fields=True, tag_field="message"):
    """Base of all."""


class Attach(Message, frozen=True, tag="attach"):
    """A screen's terminal wants to show the engine's screen."""

    columns: Cells
    lines: Cells
    environment: Environment
    """The terminal's variables of `TERMINAL`, those that are set."""
    takes_over: bool = False
    """Whether it is to drive even if another does."""


class Resize(Message, frozen=True, tag="resize"):
    """The screen's terminal has another size."""

    columns: Cells
    lines: Cells


class TakeOver(Message, frozen=True, tag="take over"):
    """The screen, which watched, wants to drive."""


class Repaint(Message, frozen=True, tag="repaint"):
    """The screen's terminal has to be taken over again: it was given back for a while."""


class Ask(Message, frozen=True, tag="ask"):
    """How do things stand? Answered with `Status`."""


class End(Message, frozen=True, tag="end"):
    """End the engine. Answered with `Ended`."""


class Role(Message, frozen=True, tag="role"):
    """Whether this screen drives, the size of the one that does, and what is left if the holder is lost too."""

    id: Text
    drives: bool
    columns: Cells
    lines: Cells
    session: Text = ""
    """The id of the engine's saved session; empty before there is one."""
    ranks: Ranks = 1
    """On how many ranks of a torchrun the engine runs."""


class Released(Message, frozen=True, tag="released"):
    """The engine goes on standing, and this screen is let go."""


class Refused(Message, frozen=True, tag="refused"):
    """What was wrong with what the screen sent, or why it is not let in."""

    reason: Text


class Status(Message, frozen=True, tag="status"):
    """How an engine stands."""

    id: Text
    model: Text
    place: Text
    """Where the run stands, as the screen's header says it."""
    since: Seconds
    """When the engine was started, in seconds since the epoch."""
    screens: Annotated[int, Meta(ge=0, le=1000)]
    """How many screens show it."""
    pid: Pid
    """The engine's process."""
    ends_in: Seconds | None
    """Seconds until it ends for being idle; None while that is not counted, as when a screen is attached."""
    session: Text
    """The id of its saved session; empty before there is one."""
    ranks: Ranks = 1
    """On how many ranks of a torchrun it runs."""


class Ended(Message, frozen=True, tag="ended"):
    """The engine's process has ended."""

    code: Annotated[int, Meta(ge=-1000, le=1000)]
    """Its exit code; minus the signal's number if a signal ended it."""
    reason: Text = ""
    """What else is known of why; empty if nothing."""
    lost: bool = False
    """Whether it was lost, so that another should be started from its saved session."""
    session: Text = ""
    """The id of its saved session; empty before there is one."""


class Shown(Message, frozen=True, tag="shown"):
    """Draw the whole screen anew, behind a mark that names `number`."""

    number: Annotated[int, Meta(ge=1, le=2**53)]
    environment: Environment | None = None
    """The variables of the terminal that drives from now on; None if that has not changed."""


class Close(Message, frozen=True, tag="close"):
    """Close the session, and end."""


class Modes(Message, frozen=True, tag="modes"):
    """The bytes that a terminal needs before what follows the mark that names `number`."""

    number: Annotated[int, Meta(ge=1, le=2**53)]
    bytes: Text


class Place(Message, frozen=True, tag="place"):
    """Where the run stands."""

    model: Text
    place: Text
    session: Text
    working: bool
    """Whether something runs: then the engine is not idle."""


class Release(Message, frozen=True, tag="release"):
    """Let the screen go that drives: the user leaves the engine standing."""


class Lost(Message, frozen=True, tag="lost"):
    """The engine cannot go on, and ends: its device has failed, for example."""

    reason: Text


class Ends(Message, frozen=True, tag="ends"):
    """The engine ends by itself, as it should."""

    code: Annotated[int, Meta(ge=-1000, le=1000)]
    """Its exit code."""


FromScreen = Attach | Resize | TakeOver | Repaint | Ask | End
ToScreen = Role | Released | Refused | Status | Ended
ToEngine = Shown | Close
FromEngine = Modes | Place | Release | Lost | Ends
_MOST_TEXT = 1_000

SCREENS = msgspec.json.Decoder(FromScreen)
HOLDERS = msgspec.json.Decoder(ToScreen)
ORDERS = msgspec.json.Decoder(ToEngine)
REPORTS = msgspec.json.Decoder(FromEngine)
"""What each side may be sent, by who sends it."""

_Sent = TypeVar("_Sent")


def packed(message: Message) -> bytes:
    """A message as a frame."""
    return frame(Kind.MESSAGE, msgspec.json.encode(message))


def unpacked(decoder: msgspec.json.Decoder[_Sent], payload: bytes) -> _Sent:
    """The message in a frame. Raises FrameError."""
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FrameError(f"a message that cannot be read: {error}") from error


def cut(text: str) -> str:
    """As much of a text as a message may carry."""
    return text[:_MOST_TEXT]
