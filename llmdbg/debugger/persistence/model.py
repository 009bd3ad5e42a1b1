"""A saved session: everything needed to return to the same place, as plain frozen values.

Nothing of the model is saved. Restoring generates again from the prompt with the same seed, up to the place where the
session stood, and compares the ids with the saved ones. Imports no torch, so that listing saved sessions is quick.
`capture.py` fills it in, `format.py` reads and writes it as JSON, `store.py` keeps the files, `restore.py` restores it.

Files are validated against the annotations, bounds included: see `format.py`.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

from msgspec import Meta

from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.debugger.limits import (
    MOST_ADDRESS,
    MOST_BRANCHES,
    MOST_BREAKPOINTS,
    MOST_LEFT_PAD,
    MOST_LINE,
    MOST_LINES,
)
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import SessionRequestError
from llmdbg.formatting import counted
from llmdbg.models.spec import DEMO_MODEL, ModelSpec
from llmdbg.models.stages import TOKENIZE

_EXCERPT, _MOST_NAME = 40, 60  # characters
# A process's start time depends on the system clock, which may be adjusted; no pid is reused this soon.
_SAME_START_SECONDS = 5.0

Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=MOST_LINE)]
Lines = Annotated[tuple[Text, ...], Meta(max_length=MOST_LINES)]
Address = Annotated[str, Meta(max_length=MOST_ADDRESS)]


@dataclass(frozen=True, slots=True)
class Owner:
    """The process a session is open in."""

    pid: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    """Its process id."""
    host: str
    """The host it runs on."""
    started: float
    """When it started, in seconds since the epoch: distinguishes it from a later process with the same id."""

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this host. Nothing is known about processes of other hosts."""
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Whether the process still runs on this host."""
        import psutil

        if not self.is_here:
            return False
        try:
            process = psutil.Process(self.pid)
            same = abs(float(process.create_time()) - self.started) < _SAME_START_SECONDS
            return same and bool(process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            return True


@dataclass(frozen=True, slots=True)
class SavedPosition:
    """Where a session stood."""

    address: Address
    """The address of the stage that had just run."""
    token: Count
    """The generated token being produced, counted from 0."""


@dataclass(frozen=True, slots=True)
class SavedBreakpoint:
    """A breakpoint as text; its address is resolved again when it is restored. Fields as in `Breakpoint`."""

    number: Count
    """Its number."""
    address: Address
    """The text that names its stages."""
    temporary: bool
    """Whether the first hit that stops deletes it."""
    enabled: bool
    """Whether it is evaluated at all."""
    hits: Count
    """How often it was hit."""
    kind: BreakpointKind = BreakpointKind.BREAK
    """Whether it stops, logs or watches."""
    condition: Text | None = None
    """What must hold for a hit; None for a hit every time, or where `address` implies it."""
    expressions: Lines = ()
    """What a tracepoint logs, or the one expression that a watch compares."""
    ignore: Count = 0
    """How many of the next hits pass without effect."""
    commands: Lines = ()
    """Command lines to run when it stops."""


@dataclass(frozen=True, slots=True)
class SavedEdit:
    """An edit as its command line."""

    number: Count
    """Its number in the branch."""
    line: Text
    """The command line."""
    since: Count
    """The first generated token it applies to."""
    enabled: bool
    """Whether it was on."""
    stages: tuple[str, ...] = ()
    """The addresses it changes, for `edit` and `patch`; empty for edits whose line names them."""


@dataclass(frozen=True, slots=True)
class SavedChoice:
    """The user's overrides of one choice of a token."""

    token: Count
    """The generated token, counted from 0."""
    force: Count | None
    """The forced id; None for a free choice."""
    ban: tuple[Count, ...]
    """The banned ids."""


@dataclass(frozen=True, slots=True)
class SavedSettings:
    """Generation settings of a branch."""

    since: Count
    """The generated token from which they apply."""
    settings: GenerationSettings
    """The settings."""


@dataclass(frozen=True, slots=True)
class SavedBranch:
    """A branch."""

    number: Count
    """Its number, unique in the session."""
    name: Annotated[str, Meta(min_length=1, max_length=_MOST_NAME)]
    """Its name, unique in the session."""
    parent: Count | None
    """The number of the branch it forked from; None for the first."""
    fork: Count
    """The first generated token of its own."""
    why: Text
    """What made it fork."""
    place: SavedPosition
    """Where it was left."""
    generated: tuple[Count, ...]
    """Its generated ids, including those before its fork."""
    settings: tuple[SavedSettings, ...]
    """Its settings; the first from token 0."""
    choices: tuple[SavedChoice, ...] = ()
    """Forced and banned tokens."""
    edits: Annotated[tuple[SavedEdit, ...], Meta(max_length=MOST_LINES)] = ()
    """Its edits."""


@dataclass(frozen=True, slots=True)
class SavedSession:
    """Everything that is saved of a session."""

    id: str
    """Its id, which sorts by time."""
    spec: ModelSpec
    """The model it was opened with."""
    prompt: str
    """The prompt's text."""
    settings: GenerationSettings
    """The settings it was opened with."""
    owner: Owner
    """The process that has it open, or had it last."""
    created: str
    """ISO time with an offset."""
    updated: str
    """ISO time with an offset."""
    chat: bool = False
    """Whether the prompt is put through the chat template."""
    system: str | None = None
    """The system message; None if none was given."""
    left_pad: Annotated[int, Meta(ge=0, le=MOST_LEFT_PAD)] = 0
    """Pad tokens before the prompt."""
    breakpoints: Annotated[tuple[SavedBreakpoint, ...], Meta(max_length=MOST_BREAKPOINTS)] = ()
    """Breakpoints, tracepoints and watches."""
    place: SavedPosition = SavedPosition(TOKENIZE.address, 0)
    """Where it stood."""
    ended: bool = False
    """Whether the last of `generated` ended the generation."""
    generated: tuple[Count, ...] = ()
    """The ids generated up to `place`."""
    focus: Count | None = None
    """The position in focus; None for the newest."""
    rank: Count | None = None
    """The rank whose own values are shown; None for whole values, and in one process."""
    branches: Annotated[tuple[SavedBranch, ...], Meta(max_length=MOST_BRANCHES)] = ()
    """All branches; empty while there is a single unchanged one."""
    branch: Count = 1
    """The number of the current branch."""
    layout: dict[str, Any] = field(default_factory=dict)
    """JSON values that only the front end reads."""
    open: bool = True
    """False once the user has left it."""

    def spec_to_load(self, *, trust_remote_code: bool = False, allow_pickle: bool = False) -> ModelSpec:
        """The model to load again. Permission to run code is never taken from a file: the user must give it again.

        Raises SessionRequestError, naming the missing option, if the session had a permission that is not given now.
        """
        if self.spec.trust_remote_code and not trust_remote_code:
            raise SessionRequestError("this session ran Python code that comes with its model: add --trust-remote-code")
        if self.spec.allow_pickle and not allow_pickle:
            raise SessionRequestError("this session loaded pickled weights, which can run code: add --allow-pickle")
        return replace(self.spec, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)


def this_process() -> Owner:
    """The current process as an owner."""
    return _owner(os.getpid())


@cache
def _owner(pid: int) -> Owner:
    import psutil

    return Owner(pid, socket.gethostname(), float(psutil.Process(pid).create_time()))


def begin(
    spec: ModelSpec,
    prompt: str,
    settings: GenerationSettings,
    *,
    chat: bool = False,
    system: str | None = None,
    left_pad: int = 0,
) -> SavedSession:
    """A new session of this process, with a new id."""
    time = now()
    return SavedSession(
        new_id(), spec, prompt, settings, this_process(), time, time, chat=chat, system=system, left_pad=left_pad
    )


def new_id() -> str:
    """A new id, which sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def now() -> str:
    """The current time as it is saved: ISO, UTC, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def describe(saved: SavedSession) -> str:
    """A saved session in one line. The text is raw from the file: front ends must `sanitize` it."""
    words = " ".join(saved.prompt[: 4 * _EXCERPT].split())
    excerpt = words if len(words) <= _EXCERPT else f"{words[: _EXCERPT - 1]}…"
    return " · ".join(
        (
            (saved.spec.name or DEMO_MODEL)[-_MOST_NAME:],
            f'"{excerpt}"',
            "at the end" if saved.ended else f"at {saved.place.address}@{saved.place.token}",
            counted(len(saved.breakpoints), "breakpoint"),
            f"{datetime.fromisoformat(saved.updated).astimezone():%Y-%m-%d %H:%M}",
        )
    )
