"""Running a side of a comparison as a branch runs: with its edits, its forced tokens and its settings.

Every run of such a side has the edits, those on copies of the model in other dtypes too. A stage that is run once more
on the reference's input is edited once more, so that an edit is the edited stage's own, and what comes after it is not
blamed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.editing.edits import Edits, apply_edit
from llmdbg.debugger.editing.rebinding import rebound
from llmdbg.engine.stage_event import EventHandler, StageEvent, always_suspend

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from transformers import PreTrainedModel

    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.engine.debuggee import ArmedStages, Debuggee, Editor
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.token_overrides import TokenOverrides
    from llmdbg.models.anatomy import Anatomy


@dataclass(frozen=True, slots=True)
class BranchChanges:
    """What a branch does otherwise than a plain run."""

    name: str
    """The branch's name."""
    edits: tuple[Edit, ...] = ()
    """Its edits, in the order in which they are applied."""
    overrides: Mapping[int, TokenOverrides] = field(default_factory=dict)
    """Forced and banned tokens, by generated token."""
    settings: tuple[tuple[int, GenerationSettings], ...] = ()
    """The settings that apply from a later token on, each with that token; a limit of None is that of the run."""
    notes: tuple[str, ...] = ()
    """What of the branch is left out, a sentence each."""

    def bound(self, anatomy: Anatomy, model: PreTrainedModel | None, prompt_length: int) -> BoundEdits:
        """The edits for a run of a model, which may be a copy of the one they were made on."""
        return BoundEdits([rebound(each, anatomy, model) for each in self.edits], prompt_length)

    def change(self, debuggee: Debuggee, settings: GenerationSettings) -> None:
        """Let a debuggee that has not run yet run as the branch does, with `settings` from its first token on."""
        later = [
            (since, replace(each, max_new_tokens=settings.max_new_tokens) if each.max_new_tokens is None else each)
            for since, each in self.settings
        ]
        debuggee.timeline.settings = ((0, settings), *later)
        debuggee.timeline.overrides = dict(self.overrides)
        if self.edits:
            model = None if debuggee.loaded is None else debuggee.loaded.model
            edits = self.bound(debuggee.anatomy, model, len(debuggee.prompt.ids))
            debuggee.stops = EditedStops(debuggee.stops, edits)


class BoundEdits:
    """Edits of one copy of a model."""

    def __init__(self, edits: Sequence[Edit], prompt_length: int) -> None:
        self._edits = edits
        self._prompt_length = prompt_length
        self.addresses = frozenset[str]().union(*(each.stages for each in edits))

    def editor(self) -> Editor:
        """The editor of a run, to be armed at `addresses`."""
        edits = Edits()
        for each in self._edits:
            edits.put_back(each)
        return edits.editor(self._prompt_length)

    def applied(self, event: StageEvent, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """What the stage of `event` returns once `output`, which it made of other arguments, is edited."""
        again = replace(event, args=args, kwargs=kwargs, output=output)
        for each in self._edits:
            if each.applies(again):
                apply_edit(each, again, self._prompt_length)
        return again.output


class EditedStops:
    """The stages of a run that has edits of its own, which come before any other editor's."""

    def __init__(self, stops: ArmedStages, edits: BoundEdits) -> None:
        self._stops = stops
        self._edits = edits
        self._has_editor = False

    def arm(self, addresses: Collection[str], handler: EventHandler = always_suspend) -> None:
        """Call `handler` at exactly these stages from now on, and suspend where it returns True."""
        if not self._has_editor:
            self.edit((), lambda _: None)
        self._stops.arm(addresses, handler)

    def edit(self, addresses: Collection[str], editor: Editor) -> None:
        """Let `editor` see and change the output of these stages from now on, once it is edited."""
        self._has_editor = True
        own, others = self._edits.editor(), frozenset(addresses)

        def edit(event: StageEvent) -> None:
            if event.stage.address in self._edits.addresses:
                # An edit may recompute the output from another input; what the stage was given is known to others.
                args, kwargs = event.args, event.kwargs
                own(event)
                event.args, event.kwargs = args, kwargs
            if event.stage.address in others:
                editor(event)

        self._stops.edit(others | self._edits.addresses, edit)

    def capture_kernels(self, addresses: Collection[str]) -> None:
        """From the next `arm` on, fill `kernel_calls` in the events of these attentions."""
        self._stops.capture_kernels(addresses)

    def interrupt(self) -> None:
        """Suspend at the next possible stage. Safe from any thread."""
        self._stops.interrupt()

    def forget_interrupt(self) -> None:
        """Suspend for no `interrupt` that has met no stage so far."""
        self._stops.forget_interrupt()
