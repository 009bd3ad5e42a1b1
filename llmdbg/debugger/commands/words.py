"""The names that completion offers at a stop: plain words that a front end keeps without a debugger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.models.stages import Stage


@dataclass(frozen=True, slots=True)
class Words:
    """The names that completion offers at a stop."""

    addresses: tuple[str, ...] = ()
    """The addresses of the stages, in order."""
    gradients: tuple[str, ...] = ()
    """The addresses of gradients, where the debuggee computes any."""
    locals: tuple[str, ...] = ()
    """The tensors among the locals of the selected frame, by name."""
    modules: tuple[str, ...] = ()
    """Their dotted paths in the module tree."""
    breakpoints: tuple[str, ...] = ()
    """The breakpoint numbers in use."""
    tokens: int = 0
    """How many positions the sequence has."""
    branches: tuple[str, ...] = ()
    """The names of the branches."""
    branch: str = ""
    """The name of the current one."""
    others: tuple[str, ...] = ()
    """What `patch … from` may name besides branches: other runs that are at hand."""
    candidates: tuple[str, ...] = ()
    """The likeliest next tokens, in JSON's quotes."""
    lanes: int = 0
    """How many rows the batch has, where there is a batch."""
    ranks: int = 0
    """How many ranks run, where there are several."""
    actions: tuple[tuple[str, str], ...] = ()
    """Name and help of each of the front end's own commands."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The possible arguments of those that take one, by name."""

    @classmethod
    def of(
        cls,
        stages: Sequence[Stage],
        breakpoints: Iterable[Breakpoint],
        tokens: int,
        actions: Iterable[tuple[str, str]] = (),
        choices: Mapping[str, Iterable[str]] | None = None,
        branches: Iterable[str] = (),
        branch: str = "",
        candidates: Iterable[str] = (),
        others: Iterable[str] = (),
        gradients: Iterable[str] = (),
        local_names: Iterable[str] = (),
        lanes: int = 0,
        ranks: int = 0,
    ) -> Words:
        """The words for the stages of a run, its breakpoints and the length of its sequence."""
        return cls(
            addresses=tuple(stage.address for stage in stages),
            gradients=tuple(gradients),
            locals=tuple(local_names),
            modules=tuple(stage.module for stage in stages if stage.module),
            breakpoints=tuple(str(each.number) for each in breakpoints),
            tokens=tokens,
            branches=tuple(branches),
            branch=branch,
            others=tuple(others),
            lanes=lanes,
            ranks=ranks,
            candidates=tuple(json.dumps(each, ensure_ascii=False) for each in candidates),
            actions=tuple(actions),
            choices={name: tuple(each) for name, each in (choices or {}).items()},
        )

    def with_gradients(self) -> Words:
        """The same, with the gradients among the addresses."""
        return replace(self, addresses=(*self.addresses, *self.gradients)) if self.gradients else self

    def layer_count(self) -> int:
        """How many decoder layers there are."""
        return sum(address.isdecimal() for address in self.addresses)
