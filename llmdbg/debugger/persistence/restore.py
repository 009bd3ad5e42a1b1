"""Bringing a saved session back: branches, edits and breakpoints as they were, and a replay to where it stood.

A file may come from anywhere, so nothing in it runs: conditions and addresses are read as when they are typed, the
user's own Python and commands that would run some are put to sleep or left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.addresses import Target
from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
from llmdbg.debugger.breakpoints.parse import check_answerable, parse_saved
from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.editing.edit_language import MADE_AGAIN, EditContext, read_edit
from llmdbg.debugger.editing.edits import DormantEdit, Edit
from llmdbg.debugger.execution.branches import Branch
from llmdbg.debugger.execution.resume_plans import ResumePlan
from llmdbg.debugger.execution.trace import TimelinePosition
from llmdbg.debugger.persistence.model import SavedBranch, SavedBreakpoint, SavedEdit, SavedPosition, SavedSession
from llmdbg.engine.generation.engine import vocabulary_size
from llmdbg.engine.generation.timeline import Timeline
from llmdbg.engine.generation.token_overrides import TokenOverrides
from llmdbg.errors import AddressError, GenerationError, UsageError
from llmdbg.models.stages import SAMPLE, TOKENIZE

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import AddressBook
    from llmdbg.debugger.breakpoints.parse import BreakpointSpec
    from llmdbg.debugger.execution.session import Session

_PROCESSOR = re.compile(r"sample\.[a-z0-9_]{1,60}")

# Looking for the nearest name is slow work; a file full of wrong addresses must not keep anyone waiting.
_MOST_LOST = 20


def restore(session: Session, saved: SavedSession) -> tuple[str, ...]:
    """Bring a freshly made session, without breakpoints yet, to where `saved` stood.

    Returns a sentence for everything that is not as it was. A replay never goes beyond the token it stood at, and
    `session.interrupt()` stops it.
    """
    notes = _branches_again(session, saved)
    # Before the replay, so that those that compare know what they saw; it stops at none of them.
    notes += _set_again(session, saved.breakpoints)
    notes += _replay(session, saved)
    notes += _tokens_that_differ(session, saved)
    if saved.focus is not None and saved.focus < len(session.tokens()):
        session.focus = saved.focus
        session.look()
    elif saved.focus is not None:
        notes.append(f"there is no position {saved.focus} to focus on: the last one has the focus")
    return tuple(notes)


def _replay(session: Session, saved: SavedSession) -> list[str]:
    place = saved.place
    if place == SavedPosition(TOKENIZE.address, 0):
        return []
    try:
        processor = place.address.startswith("sample.")
        stages = frozenset((place.address,)) if processor else session.addresses.resolve(place.address).addresses
    except AddressError as error:
        # The token before is the last that is surely not beyond the place.
        before = [] if place.token == 0 else _run_to(session, frozenset((SAMPLE.address,)), place.token - 1)
        return [f"the session stood at a stage that is not here now: {error}", *before]
    return _run_to(session, stages, place.token)


def _run_to(session: Session, stages: frozenset[str], token: int) -> list[str]:
    """Run to the first of `stages` at `token`, and no further than where that token is chosen."""
    try:
        stop = session.go(ResumePlan(stages | {SAMPLE.address}, token=token, regardless=True))
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


def _branches_again(session: Session, saved: SavedSession) -> list[str]:
    """Put every branch back. Their tokens are known and nothing more: whoever goes there has them run again."""
    if not saved.branches:
        return []
    size, notes = vocabulary_size(session.loaded.model), list[str]()
    by_number: dict[int, Branch] = {}
    for each in saved.branches:
        steered = [id for choice in each.choices for id in (choice.force, *choice.ban) if id is not None]
        if size is not None and max((*steered, *each.generated), default=0) >= size:
            notes.append(f"branch {each.name} is left out: it has a token that this model does not have")
            continue
        parent = None if each.parent is None else by_number.get(each.parent)
        by_number[each.number] = _branch_again(session, each, parent)
    if not by_number:
        return notes
    current = by_number.get(saved.branch) or next(iter(by_number.values()))
    session.adopt(tuple(by_number.values()), current)
    for each in saved.branches:
        if each.number in by_number:
            notes += _edits_again(session, by_number[each.number], each.edits)
    session.begin_again()
    return notes


def _branch_again(session: Session, saved: SavedBranch, parent: Branch | None) -> Branch:
    settings = tuple((each.since, each.settings) for each in saved.settings)
    timeline = Timeline(len(session.prompt.ids), settings, list(saved.generated))
    timeline.overrides = {each.token: TokenOverrides(each.force, frozenset(each.ban)) for each in saved.choices}
    place = TimelinePosition(saved.place.token, saved.place.address)
    return Branch(saved.number, saved.name, parent, saved.fork, saved.why, timeline, place)


def _edits_again(session: Session, branch: Branch, edits: tuple[SavedEdit, ...]) -> list[str]:
    notes: list[str] = []
    for saved in edits:
        if len(notes) == _MOST_LOST:
            return [*notes, "more edits are left out: is this the model they were made on?"]
        try:
            branch.edits.put_back(_edit_again(session, saved))
        except UsageError as error:
            notes.append(f"edit {saved.number} (`{saved.line[:60]}`) is left out: {error}")
            continue
        if saved.line.partition(" ")[0] not in MADE_AGAIN:
            notes.append(
                f"edit {saved.number} of branch {branch.name} (`{saved.line[:60]}`) is off: read it, then `edits on "
                f"{saved.number}` makes it again"
            )
    return notes


def _edit_again(session: Session, saved: SavedEdit) -> Edit:
    ground = EditContext(session.addresses, session.anatomy, session.loaded.model, saved.since, len(session.prompt.ids))
    if saved.line.partition(" ")[0] not in MADE_AGAIN:
        stages = frozenset(each for each in saved.stages if session.has_stage(each))
        return Edit(saved.number, saved.line, stages, saved.since, None, DormantEdit(saved.line), enabled=False)
    draft = read_edit(saved.line, ground)
    return Edit(saved.number, draft.text, draft.stages, saved.since, draft.token, draft.change, saved.enabled)


def _set_again(session: Session, breakpoints: tuple[SavedBreakpoint, ...]) -> list[str]:
    notes: list[str] = []
    for saved in breakpoints:
        if len(notes) == _MOST_LOST:
            return [*notes, "more breakpoints are left out: is this the model they were set on?"]
        try:
            session.breakpoints.put_back(_breakpoint_again(session, saved))
        except UsageError as error:
            notes.append(f"breakpoint {saved.number} is left out: {error}")
            continue
        notes += _left_out(saved)
    return notes


def _breakpoint_again(session: Session, saved: SavedBreakpoint) -> Breakpoint:
    spec = parse_saved(saved.kind, saved.address, saved.condition, saved.expressions)
    target = _target(session.addresses, spec)
    kinds = session.addresses.kinds(target)
    check_answerable(spec.asked(), kinds, session.vocabulary, session.metrics.why_no_lens)
    return Breakpoint(
        saved.number,
        target,
        saved.temporary,
        saved.enabled,
        saved.hits,
        kind=spec.kind,
        condition=spec.condition,
        expressions=spec.expressions,
        ignore=saved.ignore,
        commands=tuple(line for line in saved.commands if not _beyond_session(line)),
    )


def _target(addresses: AddressBook, spec: BreakpointSpec) -> Target:
    """The stages of a breakpoint. A processor may be there only for the tokens that other settings hold for."""
    try:
        return spec.target(addresses)
    except AddressError:
        if _PROCESSOR.fullmatch(spec.address):
            return Target(spec.address, frozenset((spec.address,)))
        raise


def _beyond_session(line: str) -> tuple[str, ...]:
    """What is wrong with a command of a saved session, in words; nothing where it is taken back."""
    try:
        return COMMANDS.parse(line).effect.beyond_session()
    except UsageError:
        return ("make no sense",)


def _left_out(saved: SavedBreakpoint) -> list[str]:
    """A sentence on the commands that are not taken back, if any."""
    words = dict.fromkeys(word for line in saved.commands for word in _beyond_session(line))
    return [f"breakpoint {saved.number}: its commands that {' or '.join(words)} are left out"] if words else []
