"""What the requests of an editor bring along, typed: msgspec checks them, and its errors name the field."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from llmdbg.errors import UsageError


class _Arguments(msgspec.Struct, rename="camel", frozen=True):
    """Names are as in the protocol; what is not named here is ignored."""


class Initialize(_Arguments, frozen=True):
    """How the editor counts, and what it understands."""

    lines_start_at1: bool = True
    columns_start_at1: bool = True
    supports_progress_reporting: bool = False
    supports_invalidated_event: bool = False


class LaunchRequest(_Arguments, frozen=True):
    """What to debug: a model with a prompt, or a program. Names of options are those of the command line."""

    model: str | None = None
    prompt: str | None = None
    prompt_file: str | None = None
    chat: bool = False
    system: str | None = None
    left_pad: int = 0
    settings: dict[str, Any] = {}
    engine: str = "hf"
    dtype: str = "auto"
    device: str = "auto"
    attn: str | None = None
    quantize: str | None = None
    random_weights: bool = False
    allow_missing: bool = False
    program: str | None = None
    module: str | None = None
    args: list[str] = []
    cwd: str | None = None
    env: dict[str, str | None] = {}
    commands: list[str] = []
    stop_on_entry: bool = False
    stop_at_end: bool = True
    no_debug: bool = False


class Source(_Arguments, frozen=True):
    """A file."""

    path: str | None = None
    name: str | None = None


class LineBreakpoint(_Arguments, frozen=True):
    """A breakpoint at a line."""

    line: int
    condition: str | None = None
    hit_condition: str | None = None
    log_message: str | None = None


class SetBreakpoints(_Arguments, frozen=True):
    """All breakpoints of a file."""

    source: Source
    breakpoints: list[LineBreakpoint] = []


class FunctionBreakpoint(_Arguments, frozen=True):
    """A breakpoint at stages: its name is an address."""

    name: str
    condition: str | None = None
    hit_condition: str | None = None


class SetFunctionBreakpoints(_Arguments, frozen=True):
    """All breakpoints at stages."""

    breakpoints: list[FunctionBreakpoint]


class ExceptionFilter(_Arguments, frozen=True):
    """A filter that is on, with a condition."""

    filter_id: str
    condition: str | None = None


class SetExceptionBreakpoints(_Arguments, frozen=True):
    """The filters that are on."""

    filters: list[str]
    filter_options: list[ExceptionFilter] = []


class BreakpointLocations(_Arguments, frozen=True):
    """A range of lines."""

    source: Source
    line: int
    end_line: int | None = None


class Step(_Arguments, frozen=True):
    """How far a step goes."""

    granularity: str = ""


class StackTrace(_Arguments, frozen=True):
    """Which frames to list."""

    start_frame: int = 0
    levels: int = 0


class Scopes(_Arguments, frozen=True):
    """Whose scopes to list."""

    frame_id: int


class Variables(_Arguments, frozen=True):
    """What to expand, and which page of it."""

    variables_reference: int
    filter: str = ""
    start: int = 0
    count: int = 0


class SetVariable(_Arguments, frozen=True):
    """What to change."""

    variables_reference: int
    name: str
    value: str


class Evaluate(_Arguments, frozen=True):
    """A command line, or an expression."""

    expression: str
    frame_id: int | None = None
    context: str = ""


class Completions(_Arguments, frozen=True):
    """A command line that is being typed."""

    text: str
    column: int


T = TypeVar("T", bound=_Arguments)


def read(kind: type[T], message: dict[str, Any]) -> T:
    """The arguments of a request. Raises UsageError, which names the field."""
    try:
        return msgspec.convert(message.get("arguments") or {}, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{message.get('command')}: {error}") from error
