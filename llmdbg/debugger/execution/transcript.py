"""The sequence so far: prompt and generated tokens, and the model's own probability of each generated one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch

from llmdbg.debugger.execution.stop import TokenRow
from llmdbg.debugger.known_values import probability_of_chosen

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.execution.branches import Branches
    from llmdbg.debugger.execution.stop import End, Stop
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.tokens import Prompt


class Transcript:
    """The tokens of the current branch as rows."""

    def __init__(self, debuggee: Debuggee) -> None:
        self._debuggee = debuggee
        self._prompt: Prompt | None = None
        self._rows: tuple[TokenRow, ...] = ()
        self._begin()

    @property
    def _prompt_length(self) -> int:
        return len(self._debuggee.prompt.ids)

    def _begin(self) -> None:
        """Begin with the prompt's rows: a program may read one prompt after the other."""
        if self._prompt is not self._debuggee.prompt:
            self._prompt = self._debuggee.prompt
            self._rows = tuple(self.row(index, id, None) for index, id in enumerate(self._prompt.ids))

    def row(self, index: int, id: int, generated: int | None) -> TokenRow:
        """One token at position `index`; `generated` is its number among the generated ones, None in the prompt."""
        return TokenRow.of(index, self._debuggee.vocabulary.token(id), generated)

    def generated_row(self, token: int, id: int) -> TokenRow:
        """Generated token number `token`."""
        return self.row(self._prompt_length + token, id, token)

    def generated_ids(self, stop: Stop, end: End | None) -> tuple[int, ...]:
        """The generated ids so far, including at `sample` the one just chosen."""
        generated = self._debuggee.generated
        if end is not None:
            return end.ids
        chosen = stop.chosen
        return (*generated, chosen.id) if chosen is not None and stop.token == len(generated) else generated

    def rows(self, ids: tuple[int, ...]) -> tuple[TokenRow, ...]:
        """The whole sequence: the prompt's tokens and the generated `ids`."""
        self._begin()
        prompt = self._prompt_length
        if any(row.id != id for row, id in zip(self._rows[prompt:], ids, strict=False)):
            self._rows = self._rows[:prompt]
        known = len(self._rows) - prompt
        if known < len(ids):
            self._rows += tuple(self.generated_row(i, id) for i, id in enumerate(ids) if i >= known)
        return self._rows[: prompt + len(ids)]


def note_probability(branches: Branches, event: StageEvent) -> None:
    """Keep, on the device, the model's own probability of a token that has been chosen."""
    if (found := probability_of_chosen(event)) is not None:
        branches.current.probabilities[event.token] = found


def probabilities_of(
    probabilities: dict[int, Tensor | float], tokens: Iterable[int | None]
) -> tuple[float | None, ...]:
    """The model's own probability of some generated tokens, from the logits before any processor.

    None for a token whose choice was not observed. Values still on the device are replaced in place: one copy for all.
    """
    fresh = {token: prob for token, prob in probabilities.items() if not isinstance(prob, float)}
    if fresh:
        probabilities |= zip(fresh, torch.stack(list(fresh.values())).tolist(), strict=True)
    known = cast("dict[int | None, float]", probabilities)
    return tuple(known.get(token) for token in tokens)
