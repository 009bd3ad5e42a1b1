"""The list of the user's edits, and what the engine calls to make them.

- An edit holds from the token where it was made on, or at one token alone.
- Changes of a module's input come before those of its output, whichever was made first; else they come in order.
- A change keeps shape, dtype and device; what does not is refused before the model sees it.

`Edit.text`, `Edit.since` and `edit_language.read_edit` make an edit again, but for `patch`, which needs the other
branch, and `edit`, which is the user's own Python and is never run from a file on loading.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from llmdbg.debugger.editing.changes import NO_TENSOR
from llmdbg.display import Displayed
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError, EditError
from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.editing.changes import ValueChange
    from llmdbg.engine.debuggee import Editor
    from llmdbg.engine.stage_event import StageEvent


@dataclass(frozen=True, slots=True)
class Draft:
    """An edit as it was read, before it has a number. `token` is the only token it is for, None for all that come."""

    text: str
    stages: frozenset[str]
    token: int | None
    change: ValueChange


@dataclass(frozen=True, slots=True, repr=False)
class Edit(Displayed):
    """One edit. `text` is the command line as it was typed, `since` the first token it holds for."""

    number: int
    text: str
    stages: frozenset[str]
    since: int
    token: int | None
    change: ValueChange
    enabled: bool = True

    def applies(self, event: StageEvent) -> bool:
        """Whether it changes this event, if the forward runs over its positions."""
        here = self.enabled and event.stage.address in self.stages
        return here and event.token >= self.since and self.token in (None, event.token)


@dataclass(frozen=True, slots=True)
class DormantEdit:
    """An edit of a saved session that is not made again by itself: the user's own Python, or another branch's value."""

    line: str
    on_input: ClassVar[bool] = False

    def describe(self) -> str:
        """That it does nothing yet."""
        return "nothing, until it is switched on"

    def apply(self, event: StageEvent, prompt_length: int) -> Any:
        """Leave the output as it is."""
        return event.output


class Edits:
    """The user's edits, numbered from 1; a number is never given twice."""

    def __init__(self) -> None:
        self._by_number: dict[int, Edit] = {}
        self._next_number = 1

    def list(self) -> tuple[Edit, ...]:
        """All of them, oldest first."""
        return tuple(self._by_number.values())

    def add(self, draft: Draft, since: int) -> Edit:
        """Keep an edit that holds from token `since` on."""
        added = Edit(self._next_number, draft.text, draft.stages, since, draft.token, draft.change)
        self.put_back(added)
        return added

    def put_back(self, edit: Edit) -> None:
        """Take in one that was made before, with its number and its state."""
        self._by_number[edit.number] = edit
        self._by_number = dict(sorted(self._by_number.items()))
        self._next_number = max(self._next_number, edit.number + 1)

    def enable(self, number: int | None = None, *, enabled: bool = True) -> tuple[Edit, ...]:
        """Switch one, or all, on or off. Returns them. Raises CommandError for a number that is not there."""
        if number is not None and number not in self._by_number:
            numbers = ", ".join(map(str, self._by_number)) or "none"
            raise CommandError(f"there is no edit {number} (there are: {numbers})")
        switched = list(self._by_number) if number is None else [number]
        for each in switched:
            self._by_number[each] = replace(self._by_number[each], enabled=enabled)
        return tuple(self._by_number[each] for each in switched)

    def remove(self, number: int) -> None:
        """Forget one."""
        self._by_number.pop(number, None)

    def remove_last(self) -> Edit:
        """Forget the newest. Returns it. Raises CommandError when there is none."""
        if not self._by_number:
            raise CommandError("there is no edit to undo")
        return self._by_number.pop(max(self._by_number))

    def addresses(self) -> frozenset[str]:
        """Every stage that an enabled edit changes."""
        return frozenset[str]().union(*(each.stages for each in self._by_number.values() if each.enabled))

    def editor(self, prompt_length: int) -> Editor:
        """What the engine calls at these stages: the edits as they are now, whatever becomes of the list."""
        enabled = sorted((each for each in self._by_number.values() if each.enabled), key=_inputs_first)
        by_stage = {address: [each for each in enabled if address in each.stages] for address in self.addresses()}

        def edit(event: StageEvent) -> None:
            for each in by_stage.get(event.stage.address, ()):
                if each.applies(event):
                    _apply(each, event, prompt_length)

        return edit

    def copy(self) -> Edits:
        """The same edits for a branch that parts from here."""
        other = Edits()
        other._by_number, other._next_number = dict(self._by_number), self._next_number
        return other


def _inputs_first(edit: Edit) -> bool:
    return not edit.change.on_input


def _apply(edit: Edit, event: StageEvent, prompt_length: int) -> None:
    try:
        output = checked(edit.change, event, prompt_length)
    except EditError as error:
        place = f"at {event.stage.address} of token {event.token}"
        raise EditError(f"edit {edit.number} (`{edit.text}`) {place}: {error}") from error
    # The scores' way ends with what the stage made of them.
    if event.trail and event.trail[-1][1] is event.output:
        event.trail = (*event.trail[:-1], (event.stage, output))
    event.output = output


@torch.no_grad()
def checked(change: ValueChange, event: StageEvent, prompt_length: int) -> Any:
    """The output that a change makes. Raises EditError where shape, dtype or device are not what they were."""
    before, output = main_tensor(event.output), change.apply(event, prompt_length)
    after = main_tensor(output)
    if before is None or after is None:
        raise EditError(NO_TENSOR)
    if (before.shape, before.dtype, before.device) != (after.shape, after.dtype, after.device):
        devices = (f" on {after.device}", f" on {before.device}") if before.device != after.device else ("", "")
        made, had = f"{_kind(after)}{devices[0]}", f"{_kind(before)}{devices[1]}"
        raise EditError(f"the edit makes {made} of {had}: shape, dtype and device must stay what they are")
    return output


def _kind(tensor: Tensor) -> str:
    """`bfloat16[1, 12, 64]`."""
    return f"{dtype_name(tensor.dtype)}{list(tensor.shape)}"
