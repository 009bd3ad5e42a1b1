"""Ready-made conditions: `break nonfinite`, `jump 10`, `flip`, `surprise 0.01`, `diverged`, `unequal`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from llmdbg.debugger.breakpoints.addresses import StageGroup
from llmdbg.debugger.breakpoints.conditions import Memory, parse_condition
from llmdbg.debugger.breakpoints.why_hit import value_word
from llmdbg.errors import ConditionError
from llmdbg.models.stages import SAMPLE
from llmdbg.probes.quantities import APART, QuantityValue

CHOSEN_PROB = "chosen_prob"
"""The chosen token's probability by the model's raw logits; known only at `sample`, to ready-made breakpoints alone."""


DIVERGES = "diverges"
"""Whether the stage is further off the reference than rounding and the stages before it explain."""


UNEQUAL = "unequal"
"""What should be equal on all ranks and is not, in a sentence; empty if all is, unknown where there are no ranks."""


BEGINS_HERE = "begins_here"
"""Whether values that are not finite begin at this op, whose operands do not explain them; known only at ops."""


class Trigger(Protocol):
    """Decides whether a breakpoint is hit: the user's condition, or a ready-made one."""

    @property
    def text(self) -> str:
        """As the user types it."""

    @property
    def remembers(self) -> bool:
        """Whether it compares with earlier values."""

    @property
    def names(self) -> frozenset[str]:
        """The quantities it reads."""

    @property
    def tokens(self) -> frozenset[str]:
        """The texts of the tokens whose rank it reads."""

    def holds(self, values: Mapping[str, QuantityValue], memory: Memory) -> bool:
        """Whether it is true with these values; records into `memory`."""

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Whether it could be true once everything missing from `known` is measured."""

    def because(self, values: Mapping[str, QuantityValue], memory: Memory) -> str:
        """What held, with the values that made it true; `memory` as `holds` left it."""


@dataclass(frozen=True, slots=True)
class Nonfinite:
    """A value is NaN or infinite. The -inf of a token that a logits processor cut is no such value.

    At an op, only if it begins there: `breakpoints/origins.py`.
    """

    text: str = "nonfinite"
    """The text that sets it."""
    remembers: bool = False
    """It needs no earlier value."""
    names: frozenset[str] = frozenset({"nan", "inf", "max", "stage", BEGINS_HERE})
    """The quantities it reads."""
    tokens: frozenset[str] = frozenset()
    """The tokens whose rank it reads."""

    def holds(self, values: Mapping[str, QuantityValue], memory: Memory) -> bool:
        """Whether any value is NaN or infinite; at a processor, also if every token is cut."""
        stage, highest = values.get("stage"), values.get("max")
        if values.get(BEGINS_HERE) is False:
            return False
        if values.get("nan"):
            return True
        if isinstance(stage, str) and stage.startswith(f"{SAMPLE.address}."):
            return isinstance(highest, float) and math.isinf(highest)
        return bool(values.get("inf"))

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Always True: only the values decide."""
        return True

    def because(self, values: Mapping[str, QuantityValue], _memory: Memory) -> str:
        """How many values are not finite, or that no token is left."""
        if values.get("max") == -math.inf and not values.get("nan"):
            return f"{self.text}: every value is -inf"
        counts = ((values.get("nan"), "NaN"), (values.get("inf"), "infinite"))
        return f"{self.text}: " + ", ".join(f"{count} {what}" for count, what in counts if count)


@dataclass(frozen=True, slots=True)
class Jump:
    """The norm has grown by a factor since the previous stage of those it watches."""

    factor: float
    """The least ratio of this norm to the previous one."""
    remembers: bool = True
    """It compares with the previous stage."""
    names: frozenset[str] = frozenset({"norm"})
    """The quantities it reads."""
    tokens: frozenset[str] = frozenset()
    """The tokens whose rank it reads."""

    @property
    def text(self) -> str:
        """The text that sets it."""
        return f"jump {self.factor:g}"

    def holds(self, values: Mapping[str, QuantityValue], memory: Memory) -> bool:
        """Whether this norm is at least `factor` times the previous one. A token's first stage has no previous one."""
        now, before = values.get("norm"), memory.get(0)
        memory[0], memory[1] = now, before
        if not isinstance(now, float) or not isinstance(before, float):
            return False
        return now >= self.factor * before > 0

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Always True: it must see every stage."""
        return True

    def because(self, values: Mapping[str, QuantityValue], memory: Memory) -> str:
        """The norm before and now."""
        return f"{self.text}: norm {value_word(memory.get(1))} → {value_word(values.get('norm'))}"


@dataclass(frozen=True, slots=True)
class Surprise:
    """The chosen token was less likely than this, by the model's own probabilities."""

    below: float
    """The probability, from 0 to 1, that the chosen token's must be less than."""
    remembers: bool = False
    """It needs no earlier value."""
    names: frozenset[str] = frozenset({CHOSEN_PROB})
    """The quantities it reads."""
    tokens: frozenset[str] = frozenset()
    """The tokens whose rank it reads."""

    @property
    def text(self) -> str:
        """The text that sets it."""
        return f"surprise {self.below:g}"

    def holds(self, values: Mapping[str, QuantityValue], memory: Memory) -> bool:
        """Whether the choice was a surprise."""
        prob = values.get(CHOSEN_PROB)
        return isinstance(prob, float) and prob < self.below

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Always True: nothing but the probability decides."""
        return True

    def because(self, values: Mapping[str, QuantityValue], _memory: Memory) -> str:
        """How likely the chosen token was."""
        return f"{self.text}: its probability was {value_word(values.get(CHOSEN_PROB))}"


@dataclass(frozen=True, slots=True)
class Diverged:
    """A stage is further off the reference than rounding, and than every stage before it."""

    text: str = "diverged"
    """The text that sets it."""
    remembers: bool = False
    """It needs no earlier value."""
    names: frozenset[str] = frozenset({DIVERGES, APART})
    """The quantities it reads."""
    tokens: frozenset[str] = frozenset()
    """The tokens whose rank it reads."""

    def holds(self, values: Mapping[str, QuantityValue], _memory: Memory) -> bool:
        """Whether the runs part here."""
        return bool(values.get(DIVERGES))

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Always True: it must see every stage."""
        return True

    def because(self, values: Mapping[str, QuantityValue], _memory: Memory) -> str:
        """How far apart the runs are."""
        return f"{self.text}: {value_word(values.get(APART))} off the reference"


@dataclass(frozen=True, slots=True)
class Unequal:
    """What all ranks should hold alike is not the same on one of them."""

    text: str = "unequal"
    """The text that sets it."""
    remembers: bool = False
    """It needs no earlier value."""
    names: frozenset[str] = frozenset({UNEQUAL})
    """The quantities it reads."""
    tokens: frozenset[str] = frozenset()
    """The tokens whose rank it reads."""

    def holds(self, values: Mapping[str, QuantityValue], _memory: Memory) -> bool:
        """Whether any rank differs here."""
        return bool(values.get(UNEQUAL))

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Always True: it must see every stage."""
        return True

    def because(self, values: Mapping[str, QuantityValue], _memory: Memory) -> str:
        """Which rank differs, and in what."""
        return f"{self.text}: {values.get(UNEQUAL)}"


@dataclass(frozen=True, slots=True)
class ReadyMade:
    """A ready-made breakpoint."""

    where: StageGroup
    """The stages it is set at."""
    trigger: Trigger
    """What must hold for a hit."""


def ready_made(text: str) -> ReadyMade | None:
    """Parse the text of a ready-made breakpoint; None for anything else. Raises ConditionError."""
    word, _, argument = text.partition(" ")
    if word == "nonfinite":
        return ReadyMade(StageGroup.EVERYTHING, _without(argument, word, Nonfinite()))
    if word == "diverged":
        return ReadyMade(StageGroup.EVERYTHING, _without(argument, word, Diverged()))
    if word == "unequal":
        return ReadyMade(StageGroup.EVERYTHING, _without(argument, word, Unequal()))
    if word == "flip":
        return ReadyMade(StageGroup.LAYERS, _without(argument, word, parse_condition("changed(top1)")))
    if word == "jump":
        return ReadyMade(StageGroup.LAYERS, Jump(_number(argument or "10", word, least=1)))
    if word == "surprise":
        return ReadyMade(StageGroup.SAMPLE, Surprise(_number(argument or "0.01", word, most=1)))
    return None


READY_MADE = ("nonfinite", "jump", "flip", "surprise", "diverged", "unequal")
"""The names of ready-made breakpoints."""


def _without(argument: str, word: str, trigger: Trigger) -> Trigger:
    if argument.strip():
        raise ConditionError(f"break {word} takes no argument, not {argument!r}")
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
