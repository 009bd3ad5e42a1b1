"""The focus: the token position whose vector panes and answers describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.positions import focus_in
from llmdbg.engine.stage_event import main_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from llmdbg.engine.stage_event import StageEvent


class Focus:
    """The position of the sequence in focus; `position` None follows the newest one."""

    def __init__(self, prompt_length: int, forwards: Callable[[int], tuple[int, int]] | None = None) -> None:
        """`forwards` says which positions a token's forward covers, if it is not the prompt's or the newest alone."""
        self.position: int | None = None
        self._prompt_length = prompt_length
        self._forwards = forwards

    def forward_positions(self, token: int) -> tuple[int, int]:
        """The first position that `token`'s forward covers, and how many it covers."""
        if self._forwards is not None:
            return self._forwards(token)
        return (0, self._prompt_length) if token == 0 else (self._prompt_length + token - 1, 1)

    def position_at(self, token: int) -> int:
        """The position to describe while `token` is produced: the focus if its forward covers it, else the last."""
        first, length = self.forward_positions(token)
        inside = self.position is not None and first <= self.position < first + length
        return self.position if inside and self.position is not None else first + length - 1

    def vector(self, event: StageEvent) -> Tensor | None:
        """A copy of the vector (width,) at the focus of an event's main tensor, None if it has none."""
        tensor = main_tensor(event.output)
        return None if tensor is None else self.vector_of(event, tensor)

    def vector_of(self, event: StageEvent, tensor: Tensor) -> Tensor | None:
        """The same for any tensor of the stage. None if it is not floating-point or has no dimension over positions."""
        if not tensor.is_floating_point():
            return None
        axis, position = focus_in(event, tensor, self._prompt_length, self.position)
        return None if axis is None else tensor.select(axis, position).reshape(-1).clone()
