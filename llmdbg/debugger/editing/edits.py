"""The list of the user's edits, and the editor that applies them inside a forward.

- An edit applies from the token where it was made on, or at one token alone.
- Edits of a module's input are applied before those of its output, otherwise edits apply in the order they were made.
- An edit must keep shape, dtype and device; one that does not is refused before the model sees its result.

An edit can be made again from `Edit.text` and `Edit.since` by `edit_language.read_edit`, except `patch`, which needs
the other run, and `edit`, which is the user's own Python and never runs on loading a file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from llmdbg.debugger.editing.changes import NO_TENSOR, described
from llmdbg.debugger.user_code import inside_forward
from llmdbg.display import Displayed
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError, EditError
from llmdbg.formatting import counted, printable

if TYPE_CHECKING:
    from llmdbg.debugger.editing.change_tally import ChangedValues, ChangeTally
    from llmdbg.debugger.editing.changes import ValueChange
    from llmdbg.engine.debuggee import Editor
    from llmdbg.engine.stage_event import StageEvent


@dataclass(frozen=True, slots=True)
class Draft:
    """A parsed edit that has no number yet."""

    text: str
    """The command line."""
    stages: frozenset[str]
    """The addresses of the stages it changes."""
    token: int | None
    """The only generated token it applies to; None for every one from now on."""
    change: ValueChange
    """What it does to their output."""
    request: str = ""
    """The engine's id of the only request whose rows it changes; empty if it changes all."""


@dataclass(frozen=True, slots=True, repr=False)
class Edit(Displayed):
    """One edit of a branch."""

    number: int
    """Its number in the branch, from 1; never reused."""
    text: str
    """The command line."""
    stages: frozenset[str]
    """The addresses of the stages it changes."""
    since: int
    """The first generated token it applies to."""
    token: int | None
    """The only generated token it applies to; None for every one from `since` on."""
    change: ValueChange
    """What it does to their output."""
    enabled: bool = True
    """Whether it is applied."""
    request: str = ""
    """The engine's id of the only request whose rows it changes; empty if it changes all."""

    def __repr__(self) -> str:
        return f"<{self.line[:1].upper()}{self.line[1:]}>"

    @property
    def line(self) -> str:
        """It in one line: `edit 1 zero 0-1.mlp (2 stages), from token 3 on`."""
        many = f" ({len(self.stages)} stages)" if len(self.stages) > 1 else ""
        whose = f" of request {printable(self.request)}" if self.request else ""
        return f"edit {self.number} {self.text}{many}{whose}, {self.when}{'' if self.enabled else ', off'}"

    @property
    def when(self) -> str:
        """The tokens it applies to: `from token 3 on`."""
        return f"at token {self.token}" if self.token is not None else f"from token {self.since} on"

    def applies(self, event: StageEvent) -> bool:
        """Whether it changes this event, provided the forward covers its positions."""
        here = self.enabled and event.stage.address in self.stages
        return here and event.token >= self.since and self.token in (None, event.token)


@dataclass(frozen=True, slots=True)
class DormantEdit:
    """The change of a saved `edit` or `patch`, which does nothing until the user switches it on."""

    on_input: ClassVar[bool] = False
    """It changes nothing."""

    def describe(self) -> str:
        """Say that it does nothing yet."""
        return "nothing, until it is switched on"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """Return the output unchanged."""
        return event.output


@dataclass(frozen=True, slots=True)
class EditReport:
    """An edit as a list of edits shows it."""

    number: int
    """Its number in the branch."""
    text: str
    """The command line."""
    does: str
    """What it does to an output, in a few words."""
    when: str
    """The tokens it applies to: `from token 3 on`."""
    stages: int
    """How many stages it changes."""
    enabled: bool
    """Whether it is applied."""
    changed: tuple[ChangedValues, ...]
    """What it changed of generated token `counted_at`, which was run again when the edits last changed: up to the stop,
    stage by stage in the order in which they ran."""
    counted_at: int | None
    """That token; None if the edit has not been made, switched or kept since the session was opened."""


class Edits:
    """The user's edits, numbered from 1; a number is never reused."""

    def __init__(self) -> None:
        self._by_number: dict[int, Edit] = {}
        self._next_number = 1
        self._last: tuple[int, dict[int, tuple[ChangedValues, ...]]] = (0, {})
        self.tally: ChangeTally | None = None
        """Counts what the edits change while one is being made; None at any other time, since counting takes time."""

    def list(self) -> tuple[Edit, ...]:
        """All of them, oldest first."""
        return tuple(self._by_number.values())

    def add(self, draft: Draft, since: int) -> Edit:
        """Add an edit that applies from token `since` on."""
        added = Edit(
            self._next_number, draft.text, draft.stages, since, draft.token, draft.change, request=draft.request
        )
        self.put_back(added)
        return added

    def put_back(self, edit: Edit) -> None:
        """Add a saved edit with its number and state."""
        self._by_number[edit.number] = edit
        self._by_number = dict(sorted(self._by_number.items()))
        self._next_number = max(self._next_number, edit.number + 1)

    def enable(self, number: int | None = None, *, enabled: bool = True) -> tuple[Edit, ...]:
        """Enable or disable one, or all if None. Returns them. Raises CommandError for an unknown number."""
        if number is not None and number not in self._by_number:
            numbers = ", ".join(map(str, self._by_number)) or "none"
            raise CommandError(f"there is no edit {number} (there are: {numbers})")
        switched = list(self._by_number) if number is None else [number]
        for each in switched:
            self._by_number[each] = replace(self._by_number[each], enabled=enabled)
        return tuple(self._by_number[each] for each in switched)

    def remove(self, number: int) -> None:
        """Remove one, if it is there."""
        self._by_number.pop(number, None)

    def keep(self, tally: ChangeTally, token: int) -> None:
        """Keep what each edit changed while generated token `token` was run again. Waits for the device."""
        self._last = token, {number: tally.of(number) for number in self._by_number}

    def counted(self, number: int) -> tuple[ChangedValues, ...]:
        """What an edit changed when a token was last run again for its sake, stage by stage; empty for nothing."""
        return self._last[1].get(number, ())

    def report(self) -> tuple[EditReport, ...]:
        """Each edit with what it does and what it last changed, oldest first."""
        token, last = self._last
        return tuple(
            EditReport(
                each.number,
                each.text,
                each.change.describe(),
                each.when,
                len(each.stages),
                each.enabled,
                last.get(each.number, ()),
                token if each.number in last else None,
            )
            for each in self._by_number.values()
        )

    def enabled(self) -> tuple[Edit, ...]:
        """Those that are applied, in the order in which they are."""
        return tuple(sorted((each for each in self._by_number.values() if each.enabled), key=_inputs_first))

    def addresses(self) -> frozenset[str]:
        """Every stage that an enabled edit changes."""
        return frozenset[str]().union(*(each.stages for each in self._by_number.values() if each.enabled))

    def editor(self, prompt_length: int) -> Editor:
        """The editor to arm at `addresses()`. It applies the edits as they are now, not as they may become later."""
        enabled = self.enabled()
        by_stage = {address: [each for each in enabled if address in each.stages] for address in self.addresses()}

        token, calls = -1, dict[str, int]()

        def edit(event: StageEvent) -> None:
            nonlocal token, calls
            if event.token != token:
                token, calls = event.token, {}
            address = event.stage.address
            event.call = calls.get(address, 0)
            calls[address] = event.call + 1
            for each in by_stage.get(address, ()):
                if each.applies(event):
                    before = main_tensor(event.output)
                    apply_edit(each, event, prompt_length)
                    after = main_tensor(event.output)
                    if self.tally is not None and before is not None and after is not None:
                        self.tally.note(each.number, address, before, after)

        return edit

    def copy(self) -> Edits:
        """A copy of the list, for a branch that forks here."""
        other = Edits()
        other._by_number, other._next_number = dict(self._by_number), self._next_number
        other._last = self._last
        return other


def what_changed(edit: Edit, stages: tuple[ChangedValues, ...]) -> str:
    """What an edit did to the current token up to the stop, in a sentence."""
    name = f"edit {edit.number} {edit.text}"
    if not stages:
        are = "the stage is" if len(edit.stages) == 1 else "its stages are"
        return f"{name}: nothing is changed yet, {are} still to come"
    changed, size = sum(each.changed for each in stages), sum(each.size for each in stages)
    where = stages[0].address if len(stages) == 1 else f"{len(stages)} stages"
    still = len(edit.stages) - len(stages)
    more = f"; {counted(still, 'stage')} still to come" if still else ""
    if not changed:
        return f"{name}: none of the {counted(size, 'value')} of {where} is another than before{more}"
    return f"{name}: {changed:,} of {counted(size, 'value')} of {where} changed{more}"


def _inputs_first(edit: Edit) -> bool:
    return not edit.change.on_input


def apply_edit(edit: Edit, event: StageEvent, prompt_length: int) -> None:
    """Replace the output of an event that an edit applies to. Raises EditError, which names the edit."""
    try:
        with inside_forward():
            output = checked(edit.change, event, prompt_length)
    except EditError as error:
        place = f"at {event.stage.address} of token {event.token}"
        raise EditError(f"edit {edit.number} (`{edit.text}`) {place}: {error}") from error
    # The trail of scores ends with this stage's output.
    if event.trail and event.trail[-1][1] is event.output:
        event.trail = (*event.trail[:-1], (event.stage, output))
    event.output = output


@torch.no_grad()
def checked(change: ValueChange, event: StageEvent, prompt_length: int) -> Any:
    """The output that a change makes. Raises EditError if its shape, dtype or device differ from the original's."""
    before, output = main_tensor(event.output), change.apply(event, prompt_length)
    after = main_tensor(output)
    if before is None or after is None:
        raise EditError(NO_TENSOR)
    if (before.shape, before.dtype, before.device) != (after.shape, after.dtype, after.device):
        devices = (f" on {after.device}", f" on {before.device}") if before.device != after.device else ("", "")
        made, original = f"{described(after)}{devices[0]}", f"{described(before)}{devices[1]}"
        raise EditError(f"the edit turns {original} into {made}: shape, dtype and device must stay the same")
    return output
