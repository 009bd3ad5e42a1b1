"""Which stages enclose which, and which are visible when some are unfolded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.worker.fine_row import module_around
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from llmdbg.models.stages import Stage


class StageTree:
    """The stages of one token as a tree: layers, the modules inside them, the modules inside those."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)
        self._positions = {stage.address: at for at, stage in enumerate(self.stages)}
        addresses = {stage.address for stage in stages}
        self._parents = {stage.address: _parent(stage, addresses) for stage in stages}
        self._with_parts = frozenset(parent for parent in self._parents.values() if parent)
        self._enclosing = {address: tuple(self._climb(address)) for address in self._parents}

    def stage(self, address: str) -> Stage | None:
        """The stage at an address; None if there is none."""
        at = self._positions.get(address)
        return None if at is None else self.stages[at]

    def position(self, address: str) -> int:
        """The index of a stage among all of them. Raises KeyError."""
        return self._positions[address]

    def parent(self, address: str) -> str | None:
        """The address of the enclosing stage; None for a stage of the outline."""
        return self._parents.get(address)

    def has_parts(self, address: str) -> bool:
        """Whether there is something to unfold."""
        return address in self._with_parts

    def enclosing(self, address: str) -> tuple[str, ...]:
        """Every stage that encloses `address`, innermost first."""
        return self._enclosing.get(address, ())

    def visible(self, unfolded: Collection[str], here: str) -> tuple[Stage, ...]:
        """The stages whose enclosing stages are all unfolded; those that enclose `here` always are."""
        opened = {*unfolded, *self.enclosing(here)}
        return tuple(stage for stage in self.stages if opened.issuperset(self._enclosing[stage.address]))

    def _climb(self, address: str) -> Iterator[str]:
        at = self._parents[address]
        while at is not None:
            yield at
            at = self._parents[at]


def _parent(stage: Stage, addresses: Collection[str]) -> str | None:
    if (inside := module_around(stage)) is not None:
        return inside if inside in addresses else None
    if stage.depth == 1 or stage.kind is not StageKind.MODULE:
        return None
    outer = stage.address.rpartition(".")[0]
    while outer and outer not in addresses:
        outer = outer.rpartition(".")[0]
    return outer or None
