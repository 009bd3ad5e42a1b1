"""A session as it is saved: what it takes to come back to the same place, as plain frozen values.

Nothing of the model is saved. Generation is repeated from the prompt with the same seed, which gives the same tokens,
up to the place where the session stood; the ids it had generated are saved to tell whether it did.
Imports no torch, so that listing saved sessions is quick. Filled in by `capture.py`, read and written as JSON by
`format.py`, kept in files by `store.py`, brought back by `restore.py`.

The annotations are what a file is checked against, bounds included: see `format.py`.
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
from llmdbg.debugger.limits import MOST_BREAKPOINTS, MOST_LEFT_PAD, MOST_LINE, MOST_LINES
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import SessionFileError
from llmdbg.formatting import counted
from llmdbg.models.spec import DEMO_MODEL, ModelSpec
from llmdbg.models.stages import TOKENIZE

_EXCERPT, _MOST_NAME = 40, 60  # characters
_MOST_BRANCHES = 1000
# A process start is told from the system clock, which may be set; a pid is not given again this soon.
_SAME_START_SECONDS = 5.0

Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=MOST_LINE)]
Lines = Annotated[tuple[Text, ...], Meta(max_length=MOST_LINES)]
Address = Annotated[str, Meta(max_length=300)]


@dataclass(frozen=True, slots=True)
class Owner:
    """The process a session is open in. `started` is in seconds since the epoch, so that a reused pid is not it."""

    pid: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    host: str
    started: float

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this host: of another's processes nothing is known."""
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
    """Where a session stood: after stage `address`, while producing generated token `token`, counted from 0."""

    address: Address
    token: Count


@dataclass(frozen=True, slots=True)
class SavedBreakpoint:
    """A breakpoint as it was set: its address is resolved again on the model it comes back to.

    `number` is what the user calls it by, and `hits` how often it was hit so far. A `temporary` one goes at its first
    hit, and the next `ignore` hits do not stop. `condition` is None where it stops always. `expressions` are what a
    tracepoint logs, or the one a watch compares; `commands` run when it stops.
    """

    number: Count
    address: Address
    temporary: bool
    enabled: bool
    hits: Count
    kind: BreakpointKind = BreakpointKind.BREAK
    condition: Text | None = None
    expressions: Lines = ()
    ignore: Count = 0
    commands: Lines = ()


@dataclass(frozen=True, slots=True)
class SavedEdit:
    """An edit as it was typed, in `line`.

    `number` is what the user calls it by, `since` the first token it holds for, `stages` the addresses it changes,
    empty where `line` says them itself.
    """

    number: Count
    line: Text
    since: Count
    enabled: bool
    stages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedChoice:
    """What the user made of the choice of generated token `token`.

    `force` is the id it must be, None where it is free; `ban` are the ids it must not be.
    """

    token: Count
    force: Count | None
    ban: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class SavedSettings:
    """Settings that hold from generated token `since` on."""

    since: Count
    settings: GenerationSettings


@dataclass(frozen=True, slots=True)
class SavedBranch:
    """A branch: its tokens, those before its fork included, where it was left, and what makes it what it is.

    `number` and `name` are its own alone. `parent` is the number of the branch it left, None for the first, `fork` the
    first token that is its own, `why` what made it part. `place` is where it was left, `generated` the ids it chose.
    `settings` begin at token 0.
    """

    number: Count
    name: Annotated[str, Meta(min_length=1, max_length=_MOST_NAME)]
    parent: Count | None
    fork: Count
    why: Text
    place: SavedPosition
    generated: tuple[Count, ...]
    settings: tuple[SavedSettings, ...]
    choices: tuple[SavedChoice, ...] = ()
    edits: Annotated[tuple[SavedEdit, ...], Meta(max_length=MOST_LINES)] = ()


@dataclass(frozen=True, slots=True)
class SavedSession:
    """All that is kept of a debugger.

    `spec`, `prompt`, `chat`, `system` (None: none was given), `left_pad` (pad tokens before the prompt) and `settings`
    are how it was begun. `owner` is the process that has it, or had it last; `open` is False once the user has left
    it. `created` and `updated` are ISO times with an offset. It stood at `place`; `generated` are the ids it had
    chosen, `ended` whether the last of them ended the generation, `focus` the position the panes described, None for
    the last one. `branches` are all branches, none before a second was made or the first changed, and `branch` the
    number of the one that ran. `layout` is the front end's own: JSON values that nobody else reads.
    """

    id: str
    spec: ModelSpec
    prompt: str
    settings: GenerationSettings
    owner: Owner
    created: str
    updated: str
    chat: bool = False
    system: str | None = None
    left_pad: Annotated[int, Meta(ge=0, le=MOST_LEFT_PAD)] = 0
    breakpoints: Annotated[tuple[SavedBreakpoint, ...], Meta(max_length=MOST_BREAKPOINTS)] = ()
    place: SavedPosition = SavedPosition(TOKENIZE.address, 0)
    ended: bool = False
    generated: tuple[Count, ...] = ()
    focus: Count | None = None
    branches: Annotated[tuple[SavedBranch, ...], Meta(max_length=_MOST_BRANCHES)] = ()
    branch: Count = 1
    layout: dict[str, Any] = field(default_factory=dict)
    open: bool = True

    def spec_to_load(self, *, trust_remote_code: bool = False, allow_pickle: bool = False) -> ModelSpec:
        """The model to load again. Leave to run code is never taken from a file: the user gives it anew.

        Raises SessionFileError, saying which option is missing, when the session had a leave that is not given now.
        """
        if self.spec.trust_remote_code and not trust_remote_code:
            raise SessionFileError("this session ran Python code that comes with its model: add --trust-remote-code")
        if self.spec.allow_pickle and not allow_pickle:
            raise SessionFileError("this session loaded pickled weights, which can run code: add --allow-pickle")
        return replace(self.spec, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)


def this_process() -> Owner:
    """The present process as an owner."""
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
    """A session of this process that is just beginning, under an id of its own."""
    time = now()
    return SavedSession(
        new_id(), spec, prompt, settings, this_process(), time, time, chat=chat, system=system, left_pad=left_pad
    )


def new_id() -> str:
    """An id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def now() -> str:
    """The time as it is saved."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def describe(saved: SavedSession) -> str:
    """A saved session in one line. Its text is as in the file: front ends show it through `sanitize`."""
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
