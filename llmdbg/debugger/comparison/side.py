"""One side of a comparison: a model with its prompt and settings, and runs of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.weights import named_weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from llmdbg.debugger.comparison.branch_edits import BoundEdits, BranchChanges
    from llmdbg.debugger.comparison.weights import WeightName
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.tokens import Prompt

Opener = Callable[["LoadedModel", "Prompt", "GenerationSettings"], "Debuggee"]
"""Prepares the generation after a prompt; nothing runs yet."""


@dataclass(frozen=True, slots=True)
class LiveSide:
    """A model in memory, what it reads and how it chooses. Nothing has run yet."""

    loaded: LoadedModel
    """The model. A comparison copies it, and leaves it as it is."""
    prompt: Prompt
    """What it reads."""
    settings: GenerationSettings
    """How it chooses tokens."""
    opener: Opener
    """Prepares a generation."""
    branch: BranchChanges | None = None
    """What the branch that it is does otherwise; None for a plain run."""

    @property
    def name(self) -> str:
        """The model, and the branch if it is one."""
        return self.loaded.name if self.branch is None else f"{self.loaded.name}, branch {self.branch.name}"

    def debuggee(self, model: PreTrainedModel | None = None, prompt: Prompt | None = None) -> Debuggee:
        """A new run, of a copy of the model or after another prompt if given."""
        loaded = self.loaded if model is None else replace(self.loaded, model=model)
        debuggee = self.opener(loaded, self.prompt if prompt is None else prompt, self.settings)
        if self.branch is not None:
            self.branch.change(debuggee, self.settings)
        return debuggee

    def edits(self, anatomy: Anatomy, model: PreTrainedModel | None, prompt: Prompt) -> BoundEdits | None:
        """The edits of its branch, for a copy of the model; None if it has none."""
        if self.branch is None or not self.branch.edits:
            return None
        return self.branch.bound(anatomy, self.loaded.model if model is None else model, len(prompt.ids))

    def weights(self, anatomy: Anatomy) -> dict[WeightName, Tensor]:
        """Every weight by stage and name."""
        return named_weights(self.loaded.model, anatomy)


@dataclass(slots=True)
class FreeRun:
    """A run as its user has it: the tokens it chose, and what it chose them from."""

    debuggee: Debuggee
    ids: list[int] = field(default_factory=list)
    """The chosen ids."""
    scores: list[Tensor] = field(default_factory=list)
    """The scores (1, vocabulary) behind each choice, after every processor, on the CPU."""
    ended_by: str | None = None
    """Why it ended."""

    def text(self, id: int) -> str:
        """The text of an id."""
        return self.debuggee.vocabulary.text(id)

    def log_prob(self, token: int, id: int) -> float | None:
        """The logarithm of an id's probability where `token` was chosen; None if there is no such choice or id."""
        if token >= len(self.scores) or id >= self.scores[token].shape[-1]:
            return None
        return float(self.scores[token].log_softmax(-1)[0, id])

    def likeliest(self, token: int, most: int) -> Sequence[int]:
        """The likeliest ids where `token` was chosen."""
        if token >= len(self.scores):
            return ()
        scores = self.scores[token][0].nan_to_num(float("-inf"))
        return [int(each) for each in scores.topk(min(most, len(scores))).indices]


def run_freely(debuggee: Debuggee) -> FreeRun:
    """Generate to the end, with no stage watched but the choice. Raises LlmdbgError."""
    run = FreeRun(debuggee)

    def chosen(event: StageEvent) -> bool:
        assert event.chosen is not None
        run.ids.append(event.chosen)
        run.scores.append(event.trail[-1][1].detach().to("cpu", torch.float32, copy=True))
        run.ended_by = event.ended_by
        return False

    events = debuggee.events()
    next(events)
    debuggee.stops.arm(["sample"], chosen)
    for _ in events:
        pass
    return run
