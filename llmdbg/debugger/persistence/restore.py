"""Restores a saved session: its branches, edits and breakpoints, and a replay to where it stood.

A file may come from anywhere, so nothing in it runs: conditions and addresses are parsed as if typed, and edits in
Python stay off until the user switches them on. So does every command of a breakpoint that is not known to stay inside
the session: one that writes or reads a file, runs Python, or makes no sense here.
"""

from __future__ import annotations

import re
from functools import partial
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
from llmdbg.engine.debuggee import Capability
from llmdbg.engine.lockstep import InLockstep, forward_of
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.errors import AddressError, CommandError, GenerationError, UsageError
from llmdbg.formatting import listed
from llmdbg.models.stages import SAMPLE, TOKENIZE

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import AddressBook
    from llmdbg.debugger.breakpoints.parse import BreakpointSpec
    from llmdbg.debugger.debugger import Debugger

_PROCESSOR = re.compile(r"sample\.[a-z0-9_]{1,60}")

# Finding the nearest name is slow; a file full of wrong addresses must not take long.
_MOST_LOST = 20
_MOST_NOTES, _MOST_NAMED = 20, 5
_MOST_OF_LINE = 60  # characters
_WRONG_SETTINGS = {True: "it has no settings to choose tokens by", False: "nothing here takes its settings"}


def restore(debugger: Debugger, saved: SavedSession) -> tuple[str, ...]:
    """Bring a new debugger without breakpoints to where `saved` stood.

    Returns a sentence for everything that is not as it was. The replay never goes beyond the token where it stood, and
    `debugger.interrupt()` stops it.
    """
    lost, off = restore_branches(debugger, saved)
    notes = [*lost, *off]
    # Before the replay, which stops at none of them but updates the memory of those that compare.
    notes += _set_again(debugger, saved.breakpoints)
    notes += _replay(debugger, saved)
    notes += _tokens_that_differ(debugger, saved)
    if saved.focus is not None and saved.focus < len(debugger.run.tokens()):
        debugger.focus.position = saved.focus
        debugger.run.look()
    elif saved.focus is not None:
        notes.append(f"there is no position {saved.focus} to focus on: the last one has the focus")
    notes += _rank_again(debugger, saved.rank)
    return tuple(notes)


def _rank_again(debugger: Debugger, rank: int | None) -> list[str]:
    """Show what the rank holds whose values were shown."""
    if rank is None:
        return []
    debuggee = debugger.debuggee
    if not isinstance(debuggee, InLockstep):
        return [f"rank {rank} is not shown: this is one process"]
    try:
        debuggee.choose_rank(rank)
    except CommandError as error:
        return [f"whole values are shown: {error}"]
    debugger.run.look()
    return []


def _replay(debugger: Debugger, saved: SavedSession) -> list[str]:
    place = saved.place
    if place == SavedPosition(TOKENIZE.address, 0):
        return []
    try:
        processor = place.address.startswith("sample.")
        stages = (
            frozenset((place.address,))
            if processor
            else debugger.run.stages.addresses.resolve(place.address, fine=True).addresses
        )
    except AddressError as error:
        # The previous token is the last that is surely not beyond the place.
        before = [] if place.token == 0 else _run_to(debugger, frozenset((SAMPLE.address,)), place.token - 1)
        return [f"the session stood at a stage that this model does not have: {error}", *before]
    return _run_to(debugger, stages, place.token)


def _run_to(debugger: Debugger, stages: frozenset[str], token: int) -> list[str]:
    """Run to the first of `stages` at `token`, and no further than where that token is chosen."""
    try:
        stop = debugger.run.go(ResumePlan(stages | {SAMPLE.address}, token=token, regardless=True))
    except GenerationError as error:
        return [str(error)]
    if stop.stage.address in stages and stop.token == token:
        return []
    wanted = next(iter(sorted(stages)))
    return [f"the replay stands at {stop.stage.address}@{stop.token}: this time it did not stop at {wanted}@{token}"]


def _tokens_that_differ(debugger: Debugger, saved: SavedSession) -> list[str]:
    again = debugger.run.generated_ids()
    pairs = enumerate(zip(again, saved.generated, strict=False))
    first = next((index for index, (one, other) in pairs if one != other), None)
    if first is not None:
        return [f"the replay generated other tokens than before, from token {first} on"]
    if saved.ended and len(again) == len(saved.generated) and debugger.end is None:
        return ["the generation had ended here, but goes on now"]
    if not saved.ended and debugger.end is not None:
        return [f"the generation had not ended yet, but now ends at token {len(again) - 1}"]
    return []


def restore_branches(debugger: Debugger, saved: SavedSession) -> tuple[list[str], list[str]]:
    """Restore every branch, and stand at the beginning of the current one.

    Only their tokens are known: switching to one reruns them. Returns a sentence for everything that is left out, and
    one for every edit that is off until it is made again.
    """
    if not saved.branches:
        return [], []
    size, notes, off = debugger.debuggee.vocabulary.size, list[str](), list[str]()
    samples = Capability.SAMPLING in debugger.debuggee.capabilities
    by_number: dict[int, Branch] = {}
    for each in saved.branches:
        steered = [id for choice in each.choices for id in (choice.force, *choice.ban) if id is not None]
        if size is not None and max((*steered, *each.generated), default=0) >= size:
            notes.append(f"branch {each.name} is left out: it has a token that this model does not have")
            continue
        if size is not None and any(len(set(choice.ban)) >= size for choice in each.choices):
            notes.append(f"branch {each.name} is left out: it bans every token there is")
            continue
        if bool(each.settings) != samples:
            notes.append(f"branch {each.name} is left out: {_WRONG_SETTINGS[samples]}")
            continue
        parent = None if each.parent is None else by_number.get(each.parent)
        by_number[each.number] = _branch_again(debugger, each, parent)
    if not by_number:
        return notes, off
    current = by_number.get(saved.branch) or next(iter(by_number.values()))
    debugger.branching.adopt(tuple(by_number.values()), current)
    for each in saved.branches:
        if each.number in by_number:
            lost, dormant = _edits_again(debugger, by_number[each.number], each.edits)
            notes, off = [*notes, *lost], [*off, *dormant]
    debugger.replay.begin_again()
    return notes, off


def _branch_again(debugger: Debugger, saved: SavedBranch, parent: Branch | None) -> Branch:
    settings = tuple((each.since, each.settings) for each in saved.settings)
    timeline = debugger.debuggee.known_timeline(saved.generated, settings)
    timeline.overrides = {each.token: TokenOverrides(each.force, frozenset(each.ban)) for each in saved.choices}
    place = TimelinePosition(saved.place.token, saved.place.address)
    return Branch(saved.number, saved.name, parent, saved.fork, saved.why, timeline, place)


def _edits_again(debugger: Debugger, branch: Branch, edits: tuple[SavedEdit, ...]) -> tuple[list[str], list[str]]:
    lost, off = list[str](), list[str]()
    for saved in edits:
        if len(lost) == _MOST_LOST:
            lost.append("more edits are left out: is this the model they were made on?")
            break
        line = saved.line[:_MOST_OF_LINE]
        try:
            branch.edits.put_back(_edit_again(debugger, saved))
        except UsageError as error:
            lost.append(f"edit {saved.number} (`{line}`) is left out: {error}")
            continue
        if saved.line.partition(" ")[0] not in MADE_AGAIN:
            off.append(
                f"edit {saved.number} of branch {branch.name} (`{line}`) is off: read it, then `edits on "
                f"{saved.number}` makes it again"
            )
    return lost, _first(off, f"edits of branch {branch.name} that are off: `edits` lists them")


def _first(notes: list[str], more: str) -> list[str]:
    """The first notes, and a sentence on how many more there are."""
    left = len(notes) - _MOST_NOTES
    return [*notes[:_MOST_NOTES], f"{left} more {more}"] if left > 0 else notes


def _edit_again(debugger: Debugger, saved: SavedEdit) -> Edit:
    context = EditContext(
        debugger.run.stages.addresses,
        debugger.debuggee.anatomy,
        None if debugger.debuggee.loaded is None else debugger.debuggee.loaded.model,
        saved.since,
        len(debugger.debuggee.prompt.ids),
        forward_of=partial(forward_of, debugger.debuggee),
    )
    if saved.line.partition(" ")[0] not in MADE_AGAIN:
        stages = frozenset(each for each in saved.stages if debugger.run.stages.has(each))
        return Edit(saved.number, saved.line, stages, saved.since, None, DormantEdit(), enabled=False)
    draft = read_edit(saved.line, context)
    return Edit(saved.number, draft.text, draft.stages, saved.since, draft.token, draft.change, saved.enabled)


def _set_again(debugger: Debugger, breakpoints: tuple[SavedBreakpoint, ...]) -> list[str]:
    lost, off = list[str](), list[str]()
    for saved in breakpoints:
        if len(lost) == _MOST_LOST:
            lost.append("more breakpoints are left out: is this the model they were set on?")
            break
        try:
            point = _breakpoint_again(debugger, saved)
        except UsageError as error:
            lost.append(f"breakpoint {saved.number} is left out: {error}")
            continue
        debugger.breakpoints.put_back(point)
        off += filter(None, [_commands_off(point)])
    return [*lost, *_first(off, "breakpoints with commands that are off: `info breakpoints` lists them")]


def _breakpoint_again(debugger: Debugger, saved: SavedBreakpoint) -> Breakpoint:
    spec = parse_saved(saved.kind, saved.address, saved.condition, saved.expressions)
    book = debugger.run.stages.addresses
    target = _target(book, spec)
    why_no_lens = debugger.run.metrics.why_no_lens
    check_answerable(
        spec.asked(), book.kinds(target), debugger.debuggee.vocabulary, why_no_lens, book.locals_at(target)
    )
    return Breakpoint(
        saved.number,
        target,
        saved.temporary,
        saved.enabled,
        saved.hits,
        kind=spec.kind,
        trigger=spec.trigger,
        condition=spec.condition,
        expressions=spec.expressions,
        ignore=saved.ignore,
        commands=saved.commands,
        off=frozenset(line for line in saved.commands if _beyond_session(line)),
    )


def _target(addresses: AddressBook, spec: BreakpointSpec) -> Target:
    """The stages of a breakpoint. A logits processor may exist only under the settings of other tokens."""
    try:
        return spec.target(addresses)
    except AddressError:
        if _PROCESSOR.fullmatch(spec.address):
            return Target(spec.address, frozenset((spec.address,)))
        raise


def _beyond_session(line: str) -> tuple[str, ...]:
    """Why a saved command comes back off, as words to follow "commands that"; empty if it comes back on."""
    try:
        return COMMANDS.parse(line).effect.beyond_session()
    except UsageError:
        return ("make no sense",)


def _commands_off(point: Breakpoint) -> str:
    """A sentence on the commands that come back off, each named and the reasons given; empty without any."""
    off = [line for line in point.commands if line in point.off]
    if not off:
        return ""
    words = listed([*dict.fromkeys(word for line in off for word in _beyond_session(line))], "or")
    named = ", ".join(f"`{line[:_MOST_OF_LINE]}`" for line in off[:_MOST_NAMED])
    more = f" and {len(off) - _MOST_NAMED} more" if len(off) > _MOST_NAMED else ""
    return (
        f"breakpoint {point.number}: its commands that {words} are off ({named}{more}): read them with "
        f"`info breakpoints`, then `commands {point.number} on` switches them on"
    )
