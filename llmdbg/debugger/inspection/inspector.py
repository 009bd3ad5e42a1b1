"""What a question about the present stop may look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.asked import Asked
from llmdbg.engine.debuggee import live_model

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
    """The run as it stands, its past through `replay`, its other branches through `branching`, and the focus.

    A question may run tokens again, and leaves the run where it stood. `asked` is what was asked last, for the
    panes that go on showing it.
    """

    def __init__(self, replay: Replay, branching: BranchControl, focus: Focus) -> None:
        self.run = replay.run
        self.replay = replay
        self.branching = branching
        self.focus = focus
        self.debuggee = replay.run.debuggee
        self.asked = Asked()

    @property
    def event(self) -> StageEvent:
        """The event the run stands at, with its live tensors."""
        return self.run.event

    @property
    def stop(self) -> Stop:
        """The same as frozen values."""
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
        """What the debuggee was fed before it generated."""
        return self.debuggee.prompt

    @property
    def loaded(self) -> LoadedModel:
        """The live model and its tokenizer. Raises CommandError where there is none."""
        return live_model(self.debuggee)

    @property
    def model(self) -> PreTrainedModel:
        """The live model. Raises CommandError where there is none."""
        return self.loaded.model

    def focus_position(self) -> int:
        """The position that is described here: the focus, if the present token's forward runs over it."""
        return self.focus.position_at(self.event.token)

    def forward_positions(self) -> tuple[int, int]:
        """The first position the present token's forward runs over, and how many."""
        return self.focus.forward_positions(self.event.token)
