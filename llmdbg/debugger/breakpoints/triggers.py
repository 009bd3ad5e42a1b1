"""Ready-made conditions: `break nonfinite`, `break jump 10`, `break flip`, `break surprise 0.01`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from llmdbg.debugger.breakpoints.addresses import StageGroup
from llmdbg.debugger.breakpoints.conditions import Memory, parse_condition
from llmdbg.errors import ConditionError
from llmdbg.probes.quantities import QuantityValue

CHOSEN_PROB = "chosen_prob"
"""How likely the model itself held the token that was chosen; only known at `sample`, and to ready-made breakpoints."""


class Trigger(Protocol):
    """What decides whether a breakpoint stops: a condition of the user's, or a ready-made one."""

    @property
    def text(self) -> str: ...
    @property
    def remembers(self) -> bool: ...
    @property
    def names(self) -> frozenset[str]: ...
    @property
    def tokens(self) -> frozenset[str]: ...
    def holds(self, values: Mapping[str, QuantityValue], memory: Memory) -> bool: ...
    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool: ...


@dataclass(frozen=True, slots=True)
class Jump:
    """The norm has grown by a factor since the stage before, among the stages it watches."""

    factor: float
    remembers: bool = True
    names: frozenset[str] = frozenset({"norm"})
    tokens: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """How it is written."""
        return f"jump {self.factor:g}"

    def holds(self, values: Mapping[str, QuantityValue], memory: Memory) -> bool:
        """Whether this norm is `factor` times the one before. Nothing is before a token's first stage."""
        now, before = values.get("norm"), memory.get(0)
        memory[0] = now
        if not isinstance(now, float) or not isinstance(before, float):
            return False
        return now >= self.factor * before > 0

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """It must see every stage."""
        return True


@dataclass(frozen=True, slots=True)
class Surprise:
    """The chosen token was less likely than this, by the model's own probabilities."""

    below: float
    remembers: bool = False
    names: frozenset[str] = frozenset({CHOSEN_PROB})
    tokens: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """How it is written."""
        return f"surprise {self.below:g}"

    def holds(self, values: Mapping[str, QuantityValue], memory: Memory) -> bool:
        """Whether the choice was a surprise."""
        prob = values.get(CHOSEN_PROB)
        return isinstance(prob, float) and prob < self.below

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Only the token's probability tells."""
        return True


@dataclass(frozen=True, slots=True)
class ReadyMade:
    """A ready-made breakpoint: the stages where it waits, and what for."""

    where: StageGroup
    trigger: Trigger


def ready_made(text: str) -> ReadyMade | None:
    """What `nonfinite`, `jump N`, `flip` and `surprise P` stand for; None for anything else. Raises ConditionError."""
    word, _, argument = text.partition(" ")
    if word == "nonfinite":
        return ReadyMade(StageGroup.EVERYTHING, _without(argument, word, parse_condition("nan or inf")))
    if word == "flip":
        return ReadyMade(StageGroup.LAYERS, _without(argument, word, parse_condition("changed(top1)")))
    if word == "jump":
        return ReadyMade(StageGroup.LAYERS, Jump(_number(argument or "10", word, least=1)))
    if word == "surprise":
        return ReadyMade(StageGroup.SAMPLE, Surprise(_number(argument or "0.01", word, most=1)))
    return None


READY_MADE = ("nonfinite", "jump", "flip", "surprise")
"""The names of ready-made breakpoints."""


def _without(argument: str, word: str, trigger: Trigger) -> Trigger:
    if argument.strip():
        raise ConditionError(f"break {word} takes nothing behind it, not {argument!r}")
    return trigger


def _number(text: str, word: str, *, least: float = 0, most: float = math.inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least < value <= most or math.isinf(value):
        wanted = f"a number greater than {least:g}" + (f" and up to {most:g}" if most < math.inf else "")
        raise ConditionError(f"break {word} takes {wanted}, not {text!r}")
    return value
