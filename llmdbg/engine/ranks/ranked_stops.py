"""The armed stages of a run on several ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.engine.stops import Stops

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch
    from torch import nn

    from llmdbg.engine.ranks.world import World
    from llmdbg.models.anatomy import Anatomy


class RankedStops(Stops):
    """Armed stages at which all ranks suspend, or none: also when only rank 0 was interrupted."""

    def __init__(self, model: nn.Module, anatomy: Anatomy, devices: Collection[torch.device], world: World) -> None:
        self._world = world
        self._asked_to = False
        super().__init__(model, anatomy, devices)

    @property
    def interrupted(self) -> bool:
        """Whether rank 0 was interrupted. Collective: every rank asks at the same stages."""
        return self._world.told_flag(self._asked_to)

    @interrupted.setter
    def interrupted(self, value: bool) -> None:
        self._asked_to = value
