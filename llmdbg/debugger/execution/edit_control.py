"""Making, switching and undoing edits, and what they do to the prediction.

An edit holds from the present token on. Where the present branch has gone no further, it goes on in that branch; where
it has, what lies ahead came about without the edit, and a new branch begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.editing.edit_language import EditContext, read_edit
from llmdbg.debugger.editing.edits import DormantEdit
from llmdbg.debugger.limits import MOST_LINE, MOST_LINES
from llmdbg.errors import CommandError, EditError
from llmdbg.models.stages import SAMPLE, StageKind

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.editing.changes import StageValues
    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.execution.session import Session
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.engine.stage_event import StageEvent

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Likely:
    """A token and its probability."""

    id: int
    text: str
    prob: float


@dataclass(frozen=True, slots=True)
class EffectRow:
    """What would be said next at one stage, without the edits of this token and with them, likeliest first."""

    address: str
    before: tuple[Likely, ...]
    after: tuple[Likely, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """What the edits do to the prediction at each stage from the first edited one on. `note` says what is not shown."""

    rows: tuple[EffectRow, ...]
    note: str = ""


def make_edit(session: Session, line: str) -> Stop:
    """Make an edit. Raises AddressError, EditError or CommandError, and nothing has changed then."""
    token = session.place.token
    ground = EditContext(
        session.addresses,
        session.anatomy,
        session.loaded.model,
        token,
        len(session.prompt.ids),
        session.event,
        lambda branch: _values_in(session, branch, line, token),
    )
    if len(session.edits.list()) >= MOST_LINES or len(line) > MOST_LINE:
        raise EditError(f"a branch holds {MOST_LINES} edits of {MOST_LINE} characters at most")
    draft = read_edit(line, ground)
    return _with_other_edits(session, token, draft.text, lambda: session.edits.add(draft, token))


def switch_edit(session: Session, number: int | None, *, enabled: bool) -> Stop:
    """Switch one edit, or all, on or off, and go back to the first token they hold at. Raises CommandError."""
    chosen = [each for each in session.edits.list() if number in (None, each.number)]
    if not chosen:
        numbers = ", ".join(str(each.number) for each in session.edits.list()) or "none"
        raise CommandError(f"there is no edit {number} (there are: {numbers})" if number else "there are no edits")
    word = "on" if enabled else "off"
    why = f"edits {word}" + (f" {number}" if number else "")
    since = min(each.since for each in chosen)
    sleeping = [each for each in chosen if isinstance(each.change, DormantEdit)]
    if enabled and sleeping:
        return _wake(session, sleeping)
    return _back_to(session, since, why, chosen, lambda: session.edits.enable(number, enabled=enabled))


def _wake(session: Session, edits: list[Edit]) -> Stop:
    """Make an edit of a saved session again, where it was made: as if the user typed the line there."""
    if len(edits) > 1:
        raise CommandError("some of these run your own Python: switch them on one by one, with `edits on N`")
    [edit] = edits
    here = session.place
    stop = session.return_to_any(edit.since, edit.stages)
    if stop.stage.address not in edit.stages:
        session.return_to(here)
        raise CommandError(
            f"edit {edit.number} belongs to a stage that did not run at token {edit.since}: type it again"
        )
    stop = make_edit(session, edit.text)
    session.edits.remove(edit.number)
    return stop


def undo(session: Session) -> Stop:
    """Take the newest edit back, and go back to where it was made. Raises CommandError when there is none."""
    edits = session.edits.list()
    if not edits:
        raise CommandError("there is no edit to undo: `switch` goes to another branch, where a token was forced")
    newest = edits[-1]
    return _back_to(session, newest.since, f"undo {newest.text}", [newest], _removing(session))


def _removing(session: Session) -> Callable[[], object]:
    # The branch that runs when it is called: by then it may be a new one, with a list of its own.
    return lambda: session.edits.remove_last()  # noqa: PLW0108


def effect(session: Session) -> Effect | str:
    """What this token's edits do at each later layer, or that none holds here. Runs the token twice."""
    place = session.place
    here = [each for each in session.edits.list() if each.enabled and each.token in (None, place.token)]
    if not here:
        return "no edit holds at this token: make one with zero, scale, ablate, patch or edit"
    after = _predictions(session, place.token)
    passed = session.trace.order(session.place) or []
    with session.without_edits():
        before = _predictions(session, place.token)
    session.return_to(place)
    edited = frozenset[str]().union(*(each.stages for each in here))
    first = next((index for index, address in enumerate(passed) if address in edited), 0)
    rows = [
        EffectRow(address, _likely(session, before[address]), _likely(session, after[address]))
        for address in passed[first:]
        if address in after and address in before
    ]
    return Effect(tuple(rows), session.metrics.no_lens)


def _with_other_edits(session: Session, since: int, why: str, change: Callable[[], object]) -> Stop:
    """Run the present token again with other edits; with the old ones where that fails."""
    place = session.place
    old = session.edits.copy()
    session.part(since, why)
    change()
    try:
        return session.return_to(place)
    except EditError:
        session.branches.current.edits = old
        session.return_to(place)
        raise


def _back_to(session: Session, since: int, why: str, edits: list[Edit], change: Callable[[], object]) -> Stop:
    here = session.place
    reached = min(since, here.token)
    session.part(reached, why)
    change()
    if here.token == reached:
        return session.return_to(here)
    stages = frozenset[str]().union(*(each.stages for each in edits))
    return session.return_to_any(since, stages)


def _predictions(session: Session, token: int) -> dict[str, tuple[Tensor, Tensor]]:
    """The likeliest next tokens and their probabilities at each layer, the final norm and the logits, on the device."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def look(event: StageEvent) -> bool:
        if event.stage.kind in (StageKind.LAYER, StageKind.NORM, StageKind.LOGITS):
            scores = session.metrics.scores(event)
            if scores is not None:
                found[event.stage.address] = torch.softmax(scores[0].to(torch.float32), -1).topk(_SHOWN)
        return event.stage.address == SAMPLE.address

    session.run_again(token, look)
    return found


def _likely(session: Session, found: tuple[Tensor, Tensor]) -> tuple[Likely, ...]:
    probs, ids = found[0].tolist(), found[1].tolist()
    return tuple(Likely(id, session.vocabulary.text(id), prob) for id, prob in zip(ids, probs, strict=True))


def _values_in(session: Session, name: str, line: str, token: int) -> StageValues:
    """The values that the stages of a `patch` line had in another branch, while `token` was produced."""
    branch = session.branches.find(name)
    if branch is session.branches.current:
        raise CommandError("patch takes a value from another branch: `branch` lists them")
    if token > len(branch.timeline.ids):
        raise CommandError(f"branch {name} has not come to token {token}")
    address = line.strip().partition(" ")[2].partition(" from ")[0]
    stages = session.addresses.resolve(address).addresses
    values = session.values_in(branch, token, stages)
    return lambda address, at: values.get(address) if at == token else None
