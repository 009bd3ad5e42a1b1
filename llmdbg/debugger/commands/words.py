"""What there is to name at a stop, for completion: plain words that a front end holds without a debugger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.models.stages import Stage


@dataclass(frozen=True, slots=True)
class Words:
    """What there is to name at a stop.

    `addresses` are the stages in order, `modules` their dotted paths in the module tree, `breakpoints` the numbers in
    use, `branches` the branches' names, `candidates` the likeliest tokens in quotes; `tokens` is how many positions
    there are. `actions` are the front end's own commands with their help, and `choices` what those that take an
    argument may be given.
    """

    addresses: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    breakpoints: tuple[str, ...] = ()
    tokens: int = 0
    branches: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    actions: tuple[tuple[str, str], ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        stages: Sequence[Stage],
        breakpoints: Iterable[Breakpoint],
        tokens: int,
        actions: Iterable[tuple[str, str]] = (),
        choices: Mapping[str, Iterable[str]] | None = None,
        branches: Iterable[str] = (),
        candidates: Iterable[str] = (),
    ) -> Words:
        """The words for the stages of a run, its breakpoints and the length of its sequence."""
        return cls(
            addresses=tuple(stage.address for stage in stages),
            modules=tuple(stage.module for stage in stages if stage.module),
            breakpoints=tuple(str(each.number) for each in breakpoints),
            tokens=tokens,
            branches=tuple(branches),
            candidates=tuple(json.dumps(each, ensure_ascii=False) for each in candidates),
            actions=tuple(actions),
            choices={name: tuple(each) for name, each in (choices or {}).items()},
        )

    def layer_count(self) -> int:
        """How many decoder layers there are."""
        return sum(address.isdecimal() for address in self.addresses)
