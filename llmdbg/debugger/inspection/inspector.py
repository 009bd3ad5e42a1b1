"""What a question about the current stop may look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.asked import Asked
from llmdbg.debugger.inspection.frame_selection import FrameSelection
from llmdbg.debugger.inspection.read_additions import ReadAdditions
from llmdbg.debugger.inspection.read_layers import ReadLayers
from llmdbg.debugger.limits import MOST_RERUN_UNASKED
from llmdbg.engine.debuggee import live_model
from llmdbg.engine.lockstep import HeldByRanks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmdbg.debugger.execution.branch_control import BranchControl
    from llmdbg.debugger.execution.focus import Focus
    from llmdbg.debugger.execution.replay import Replay
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.engine.debuggee import Vocabulary
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.tokens import Prompt


class Inspector:
    """The run, its past through `replay`, its other branches through `branching`, and the focus.

    A question may rerun tokens and must return to where the run stood. `asked` holds the latest questions, for the
    panes that keep showing their answers.
    """

    def __init__(self, replay: Replay, branching: BranchControl, focus: Focus) -> None:
        self.run = replay.run
        self.replay = replay
        self.branching = branching
        self.focus = focus
        self.debuggee = debuggee = replay.run.debuggee
        self._ranks = debuggee if isinstance(debuggee, HeldByRanks) else None
        self.asked = Asked()
        self.selected_frame = FrameSelection()
        self.read_layers = ReadLayers()
        self.read_additions = ReadAdditions()

    @property
    def event(self) -> StageEvent:
        """The current event, with its live tensors, as the chosen lane or rank has it."""
        return self.run.lane.seen(self.whole_event)

    @property
    def whole_event(self) -> StageEvent:
        """The current event with all lanes, as the chosen rank has it if one is chosen."""
        event = self.run.event
        return event if self._ranks is None else self._ranks.as_held(event)

    @property
    def stop(self) -> Stop:
        """The same event as frozen values."""
        return self.run.stop

    @property
    def anatomy(self) -> Anatomy:
        """The stages of the debuggee and their modules."""
        return self.debuggee.anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        """What each id stands for."""
        return self.debuggee.vocabulary

    @property
    def prompt(self) -> Prompt:
        """The prompt, with its ids."""
        return self.debuggee.prompt

    @property
    def loaded(self) -> LoadedModel:
        """The live model and its tokenizer. Raises CommandError if the debuggee has none."""
        return live_model(self.debuggee)

    @property
    def model(self) -> PreTrainedModel:
        """The live model. Raises CommandError if the debuggee has none."""
        return self.loaded.model

    def focus_position(self) -> int:
        """The position to describe: the focus if the current token's forward runs over it, else its last position.

        Raises UnableError where several requests are in view.
        """
        self.run.lane.require_one()
        return self.focus.position_at(self.event.token)

    def is_long(self) -> bool:
        """Whether the current token's forward runs over so many positions that no pane should rerun it by itself."""
        return self.forward_positions()[1] > MOST_RERUN_UNASKED

    def forward_positions(self) -> tuple[int, int]:
        """The first position that the current token's forward runs over, and how many it runs over."""
        return self.focus.forward_positions(self.event.token)
