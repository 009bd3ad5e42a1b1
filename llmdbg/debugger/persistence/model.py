"""A session as it is saved: what it takes to come back to the same place, as plain frozen values.

Nothing of the model is saved. Generation is repeated from the prompt with the same seed, which gives the same tokens,
up to the place where the session stood; the ids it had generated are saved to tell whether it did.
Imports no torch, so that listing saved sessions is quick. As JSON: `saved_format.py`; as files: `saved_files.py`;
brought back: `restoring.py`.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.engine.generation.settings import GenerationSettings
from llmdbg.errors import SessionFileError
from llmdbg.models.spec import DEMO_MODEL, ModelSpec
from llmdbg.models.stages import TOKENIZE

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.execution.branches import Branch
    from llmdbg.debugger.execution.session import Session

FORMAT = 3
_MOST_STAGES = 2000
_EXCERPT, _MOST_NAME = 40, 60  # characters
# A process start is told from the system clock, which may be set; a pid is not given again this soon.
_SAME_START_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Owner:
    """The process a session is open in. `started` is in seconds since the epoch, so that a reused pid is not it."""

    pid: int
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
    """Where a session stood: after stage `address`, while producing generated token `token`."""

    address: str
    token: int


@dataclass(frozen=True, slots=True)
class SavedBreakpoint:
    """A breakpoint as it was set: its address is resolved again on the model it comes back to."""

    number: int
    address: str
    temporary: bool
    enabled: bool
    hits: int
    kind: str = BreakpointKind.BREAK.value
    condition: str | None = None
    expressions: tuple[str, ...] = ()
    ignore: int = 0
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedEdit:
    """An edit as it was typed. `since` is the first token it holds for, `stages` where the line alone does not say."""

    number: int
    line: str
    since: int
    enabled: bool
    stages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedChoice:
    """What the user made of the choice of a token: an id it must be, and ids it must not be."""

    token: int
    force: int | None
    ban: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SavedSettings:
    """Settings that hold from a generated token on."""

    since: int
    settings: GenerationSettings


@dataclass(frozen=True, slots=True)
class SavedBranch:
    """A branch: its tokens, those before its fork included, where it was left, and what makes it what it is."""

    number: int
    name: str
    parent: int | None
    fork: int
    why: str
    place: SavedPosition
    generated: tuple[int, ...]
    settings: tuple[SavedSettings, ...]
    choices: tuple[SavedChoice, ...] = ()
    edits: tuple[SavedEdit, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedSession:
    """All that is kept of a session.

    `generated` are the ids it had chosen, `ended` whether the last of them ended the generation. `branches` are all
    branches, none before the first was made, and `branch` the number of the one that ran. `layout` is the front
    end's own: JSON values that nobody else reads. `created` and `updated` are ISO times with an offset. `open` is
    False once the user has left it.
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
    left_pad: int = 0
    breakpoints: tuple[SavedBreakpoint, ...] = ()
    place: SavedPosition = SavedPosition(TOKENIZE.address, 0)
    ended: bool = False
    generated: tuple[int, ...] = ()
    focus: int | None = None
    branches: tuple[SavedBranch, ...] = ()
    branch: int = 1
    layout: dict[str, Any] = field(default_factory=dict)
    open: bool = True
    format: int = FORMAT

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


def capture(session: Session, saved: SavedSession, layout: Mapping[str, Any] | None = None) -> SavedSession:
    """`saved` as the session stands now. `layout` None keeps the one it has. Copies nothing from the device."""
    stop = session.stop
    return replace(
        saved,
        settings=session.settings,
        breakpoints=tuple(map(_as_saved, session.breakpoints.list())),
        place=SavedPosition(stop.stage.address, stop.token),
        ended=session.end is not None and session.end.stopped_by != "quit",
        generated=session.generated_ids(),
        focus=session.focus,
        branches=_branches(session),
        branch=session.branches.current.number,
        layout=saved.layout if layout is None else dict(layout),
        updated=now(),
    )


def describe(saved: SavedSession) -> str:
    """A saved session in one line. Its text is as in the file: front ends show it through `sanitize`."""
    words = " ".join(saved.prompt[: 4 * _EXCERPT].split())
    excerpt = words if len(words) <= _EXCERPT else f"{words[: _EXCERPT - 1]}…"
    count = len(saved.breakpoints)
    return " · ".join(
        (
            (saved.spec.name or DEMO_MODEL)[-_MOST_NAME:],
            f'"{excerpt}"',
            "at the end" if saved.ended else f"at {saved.place.address}@{saved.place.token}",
            f"{count} breakpoint{'' if count == 1 else 's'}",
            f"{datetime.fromisoformat(saved.updated).astimezone():%Y-%m-%d %H:%M}",
        )
    )


def _as_saved(point: Breakpoint) -> SavedBreakpoint:
    return SavedBreakpoint(
        point.number,
        point.target.text,
        point.temporary,
        point.enabled,
        point.hits,
        kind=point.kind.value,
        condition=None if point.condition is None or point.ready_made else point.condition.text,
        expressions=tuple(each.text for each in point.expressions),
        ignore=point.ignore,
        commands=point.commands,
    )


def _edit(edit: Edit) -> SavedEdit:
    at = tuple(sorted(edit.stages)) if edit.text.partition(" ")[0] in ("edit", "patch") else ()
    return SavedEdit(edit.number, edit.text, edit.since, edit.enabled, at[:_MOST_STAGES])


def _branches(session: Session) -> tuple[SavedBranch, ...]:
    """All branches; none while there is one that nothing was done to, which the other fields describe."""
    rows = tuple(_branch(each, session) for each in session.branches)
    plain = len(rows) == 1 and not rows[0].choices and not rows[0].edits and len(rows[0].settings) == 1
    return () if plain else rows


def _branch(branch: Branch, session: Session) -> SavedBranch:
    timeline = branch.timeline
    current = branch is session.branches.current
    place = SavedPosition(session.stop.stage.address, session.stop.token) if current else branch.place
    ids = timeline.ids if len(timeline.ids) > len(session.generated_ids()) or not current else session.generated_ids()
    return SavedBranch(
        branch.number,
        branch.name,
        None if branch.parent is None else branch.parent.number,
        branch.fork,
        branch.why,
        SavedPosition(place.address, place.token),
        tuple(ids),
        tuple(SavedSettings(since, settings) for since, settings in timeline.settings),
        tuple(SavedChoice(at, each.force, tuple(sorted(each.ban))) for at, each in sorted(timeline.overrides.items())),
        tuple(_edit(each) for each in branch.edits.list()),
    )
