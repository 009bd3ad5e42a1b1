"""What a client may ask: each request a data class, of which schemas, MCP tools and the checks of input are made."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import msgspec

from llmdbg.engine.settings import SettingFields
from llmdbg.errors import UsageError
from llmdbg.formatting import did_you_mean, listed, shortened

DEFAULT_MOST = 8_000
"""How many characters of JSON an answer may take unless the client asks for another number."""
LEAST_MOST, LARGEST_MOST = 2_000, 100_000
"""Below, many an answer has no room for its short fields and for naming what is left out of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Something to do."""

    do: ClassVar[str]
    waits: ClassVar[bool] = True
    """Whether it waits for its turn; one that does not is answered at once, while a command runs."""

    most: int = DEFAULT_MOST
    """How many characters of JSON the answer may take, from 2000 to 100000. What does not fit is in `left_out`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(SettingFields, Request):
    """Load a model and stop before the first stage of a generation, or open a recording. Ends the run before it.

    Give `prompt` (and `model`, unless smollm2 is meant), or `recording`, or `session`: a saved one goes on where it
    stood. A setting that is null is the model's own.
    """

    do: ClassVar[str] = "open"

    model: str | None = None
    """A Hub name, a local folder, a .gguf file or `smollm2`, which null stands for."""
    prompt: str | None = None
    """The text that the model reads."""
    chat: bool = False
    """Whether to put the prompt through the model's chat template."""
    system: str | None = None
    """A system message for the chat template; implies `chat`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The dtype to load the weights in; auto is the one they are stored in."""
    device: str = "auto"
    """auto, cpu or cuda."""
    recording: str | None = None
    """The folder of a recording, instead of a model: no model is loaded."""
    session: str | None = None
    """The id of a saved session, or `latest`: it has its own model, prompt and settings, so give nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Request):
    """Run one line of the command language: step, look, set breakpoints, go back, edit."""

    do: ClassVar[str] = "command"

    line: str
    """The line, such as `break 12 if norm > 100`, `continue` or `info stage`; `help` lists all commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Help(Request):
    """List every command, or say what one takes. Works before anything is open."""

    do: ClassVar[str] = "help"

    command: str | None = None
    """A command's name; null lists all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State(Request):
    """Say what is open, where it stands and whether a command runs. Answered at once, even while one runs."""

    do: ClassVar[str] = "state"
    waits: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class More(Request):
    """Fetch more of something that an earlier answer has left out. Answered at once."""

    do: ClassVar[str] = "more"
    waits: ClassVar[bool] = False

    handle: str
    """The handle in the answer's `left_out`."""
    offset: int
    """The first item or character wanted: `next` in `left_out`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt(Request):
    """Stop the command that runs at its next stage. It answers as usual, with `interrupted` true."""

    do: ClassVar[str] = "interrupt"
    waits: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema(Request):
    """Return the JSON Schema of one kind of event or answer, or the names of all."""

    do: ClassVar[str] = "schema"

    name: str | None = None
    """Such as `StopEvent` or `LensTable`; null or "" lists the names. A `$ref` in a schema names another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quit(Request):
    """End the run, save the session and leave."""

    do: ClassVar[str] = "quit"


REQUESTS: dict[str, type[Request]] = {
    each.do: each for each in (Open, Command, Help, State, More, Interrupt, Schema, Quit)
}
"""Every request, by what it does."""


def request_of(do: object, arguments: dict[str, Any]) -> Request:
    """The request that a client means. Raises UsageError for one that is not valid, saying which field and why."""
    if not isinstance(do, str) or do not in REQUESTS:
        near = did_you_mean(do, REQUESTS) if isinstance(do, str) else ""
        raise UsageError(f"`do` must be one of {listed(list(REQUESTS), 'or')}, not {shortened(repr(do))}{near}")
    kind = REQUESTS[do]
    known = [each.name for each in fields(kind)]
    if unknown := [name for name in arguments if name not in known]:
        raise UsageError(f"{do} has no field {shortened(repr(unknown[0]))}: it takes {listed(known)}")
    try:
        request = msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{do}: {shortened(str(error))}") from error
    if not LEAST_MOST <= request.most <= LARGEST_MOST:
        raise UsageError(
            f"{do}: `most` must be from {LEAST_MOST}, which an answer needs, to {LARGEST_MOST}, not {request.most}: "
            f"leave it out for {DEFAULT_MOST}"
        )
    return request
