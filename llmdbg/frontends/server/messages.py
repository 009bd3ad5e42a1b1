"""What the server writes: each message a data class, of which its schema is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from llmdbg.frontends.server.fitting import LeftOut

Id = str | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The first line: the server listens. Nothing is loaded yet."""

    event: Literal["ready"] = "ready"
    """Which message this is."""
    llmdbg: str
    """The version of llmdbg."""
    requests: tuple[str, ...]
    """What `do` may be in a request."""
    how: str
    """How to write a request, and where to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the request that runs has come. At most five a second."""

    event: Literal["progress"] = "progress"
    """Which message this is."""
    id: str | int | None
    """The `id` of the request."""
    doing: str
    """What is being done: `loading the weights`, `generating`, `prefill`."""
    done: int
    """How much is done: bytes while loading, tokens while generating, layers in a prefill."""
    total: int | None
    """How much there is to do; null if that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedEvent:
    """A run has begun."""

    event: Literal["opened"] = "opened"
    """Which event this is."""
    name: str
    """The model's or the recording's name."""
    place: str
    """Where it runs: the device and the dtype."""
    can: tuple[str, ...]
    """What this run can do; a command that needs anything else is refused in a line."""
    session: str
    """The id under which it is saved after each command, for a later `open`; empty if it is not."""
    notes: tuple[str, ...]
    """What there is to know about it, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateEvent:
    """What is open, and where it stands."""

    event: Literal["state"] = "state"
    """Which event this is."""
    open: str | None
    """The name of what is open; null if nothing is."""
    running: str | None
    """The request that runs now: a command line, or `open`; null if none does."""
    waiting: int
    """How many requests wait behind it."""
    address: str | None
    """The address of the stage that has run last, when the last command was over; null if nothing is open."""
    token: int | None
    """The generated token being produced there, from 0."""
    phase: str | None
    """prefill or decode."""
    reason: str | None
    """Why it stopped there."""
    ended_by: str | None
    """What ended the generation; null while it goes on."""
    text: str
    """The text generated so far."""
    breakpoints: int
    """How many breakpoints, tracepoints and watches there are."""
    allowed: tuple[str, ...]
    """What commands may do here: `harmless` always, and what the command line has allowed."""
    session: str
    """The id of the saved session; empty if there is none."""
    unsaved: str
    """Why the session is not being saved; empty if it is, or if there is none to save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreEvent:
    """Items or characters that an earlier answer has left out."""

    event: Literal["more"] = "more"
    """Which event this is."""
    handle: str
    """The handle that was asked for."""
    offset: int
    """The offset of the first that is here."""
    of: int
    """How many there are in all."""
    found: Any
    """A list, an object or a text: what comes from there on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaEvent:
    """The JSON Schema of a kind of event or answer."""

    event: Literal["schema"] = "schema"
    """Which event this is."""
    name: str
    """Its name; empty for the list of names."""
    found: Any
    """The schema, or the names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedEvent:
    """A line that the user's own Python has printed, or that the run has noted."""

    event: Literal["printed"] = "printed"
    """Which event this is."""
    line: str
    """The line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a request: one for each, in the order in which they are done."""

    event: Literal["answer"] = "answer"
    """Which message this is."""
    id: str | int | None
    """The `id` of the request; null if it had none that could be read."""
    ok: bool
    """Whether it went well. If not, the last of `events` is an error."""
    interrupted: bool
    """Whether it was interrupted before it was done."""
    events: tuple[Any, ...]
    """What happened, in order."""
    left_out: tuple[LeftOut, ...]
    """What of `events` is not here, for want of room; `more` fetches it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The last line of a server whose ranks cannot go on. Every request that waited has been answered with an error."""

    event: Literal["lost"] = "lost"
    """Which message this is."""
    rank: int | None
    """The rank that is gone or has failed; null if it is not one of them."""
    message: str
    """What happened, in a sentence."""
    session: str
    """The id of the saved session, which `--resume` takes up; empty if there was none to save."""


SERVER_EVENTS = (OpenedEvent, StateEvent, MoreEvent, SchemaEvent, PrintedEvent)
"""What may stand in a reply's `events` beside the events of a batch."""
MESSAGES = (Ready, Progress, Reply, Lost)
"""Every line that the server writes."""
