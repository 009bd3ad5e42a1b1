"""A session as it is saved: what it takes to come back to the same place, as plain frozen values.

Nothing of the model is saved. Generation is repeated from the prompt with the same seed, which gives the same tokens,
up to the place where the session stood; the ids it had generated are saved to tell whether it did.
Imports no torch, so that listing saved sessions is quick. As JSON: `saved_format.py`; as files: `saved_files.py`.
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

from llmdbg.debugger.breakpoints import Breakpoint
from llmdbg.debugger.motions import Motion
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import AddressError, GenerationError, SessionFileError
from llmdbg.models.spec import DEMO_MODEL, ModelSpec
from llmdbg.models.stages import SAMPLE, TOKENIZE

if TYPE_CHECKING:
    from llmdbg.debugger.session import Session

FORMAT = 1
_EXCERPT, _MOST_NAME = 40, 60  # characters
# Looking for the nearest name is slow work; a file full of wrong addresses must not keep anyone waiting.
_MOST_LOST_BREAKPOINTS = 20
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
class Place:
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


@dataclass(frozen=True, slots=True)
class SavedSession:
    """All that is kept of a session.

    `generated` are the ids it had chosen, `ended` whether the last of them ended the generation. `layout` is the front
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
    breakpoints: tuple[SavedBreakpoint, ...] = ()
    place: Place = Place(TOKENIZE.address, 0)
    ended: bool = False
    generated: tuple[int, ...] = ()
    focus: int | None = None
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
    spec: ModelSpec, prompt: str, settings: GenerationSettings, *, chat: bool = False, system: str | None = None
) -> SavedSession:
    """A session of this process that is just beginning, under an id of its own."""
    time = now()
    return SavedSession(new_id(), spec, prompt, settings, this_process(), time, time, chat=chat, system=system)


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
        place=Place(stop.stage.address, stop.token),
        ended=session.end is not None and session.end.stopped_by != "quit",
        generated=session.generated_ids(),
        focus=session.focus,
        layout=saved.layout if layout is None else dict(layout),
        updated=now(),
    )


def restore(session: Session, saved: SavedSession) -> tuple[str, ...]:
    """Bring a freshly made session, without breakpoints yet, to where `saved` stood.

    Returns a sentence for everything that is not as it was. A replay never goes beyond the token it stood at, and
    `session.interrupt()` stops it.
    """
    notes = _replay(session, saved)
    notes += _tokens_that_differ(session, saved)
    notes += _set_again(session, saved.breakpoints)
    if saved.focus is not None and saved.focus < len(session.tokens()):
        session.focus = saved.focus
        session.look()
    elif saved.focus is not None:
        notes.append(f"there is no position {saved.focus} to focus on: the last one has the focus")
    return tuple(notes)


def describe(saved: SavedSession) -> str:
    """A saved session in one line. Its text is as in the file: front ends show it through `visible`."""
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


def _as_saved(breakpoint: Breakpoint) -> SavedBreakpoint:
    return SavedBreakpoint(
        breakpoint.number, breakpoint.target.text, breakpoint.temporary, breakpoint.enabled, breakpoint.hits
    )


def _replay(session: Session, saved: SavedSession) -> list[str]:
    place = saved.place
    if place == Place(TOKENIZE.address, 0):
        return []
    try:
        stages = session.addresses.resolve(place.address).addresses
    except AddressError as error:
        # The token before is the last that is surely not beyond the place.
        before = [] if place.token == 0 else _run_to(session, frozenset((SAMPLE.address,)), place.token - 1)
        return [f"the session stood at a stage that is not here now: {error}", *before]
    return _run_to(session, stages, place.token)


def _run_to(session: Session, stages: frozenset[str], token: int) -> list[str]:
    """Run to the first of `stages` at `token`, and no further than where that token is chosen."""
    try:
        stop = session.go(Motion(stages | {SAMPLE.address}, token=token))
    except GenerationError as error:
        return [str(error)]
    if stop.stage.address in stages and stop.token == token:
        return []
    wanted = next(iter(sorted(stages)))
    return [f"the replay stands at {stop.stage.address}@{stop.token}: this time it did not stop at {wanted}@{token}"]


def _tokens_that_differ(session: Session, saved: SavedSession) -> list[str]:
    again = session.generated_ids()
    pairs = enumerate(zip(again, saved.generated, strict=False))
    first = next((index for index, (one, other) in pairs if one != other), None)
    if first is not None:
        return [f"the replay gave other tokens than before, from token {first} on"]
    if saved.ended and len(again) == len(saved.generated) and session.end is None:
        return ["the generation had ended here, and goes on now"]
    if not saved.ended and session.end is not None:
        return [f"the generation had not ended yet, and ends now at token {len(again) - 1}"]
    return []


def _set_again(session: Session, breakpoints: tuple[SavedBreakpoint, ...]) -> list[str]:
    notes: list[str] = []
    for saved in breakpoints:
        if len(notes) == _MOST_LOST_BREAKPOINTS:
            return [*notes, "more breakpoints are left out: is this the model they were set on?"]
        try:
            target = session.addresses.resolve(saved.address)
        except AddressError as error:
            notes.append(f"breakpoint {saved.number} is left out: {error}")
            continue
        session.breakpoints.put_back(Breakpoint(saved.number, target, saved.temporary, saved.enabled, saved.hits))
    return notes
