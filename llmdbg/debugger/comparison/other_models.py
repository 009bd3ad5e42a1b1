"""Telling that two models are different ones, where naming each weight and stage that differs would say less."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.outcome import Finding, FindingKind
from llmdbg.formatting import listed, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_MOST = 0.5
"""The share of the weights beyond which it is not some of them that differ, but the model."""
_UNRELATED = 0.5
"""The cosine below which two weights have nothing to do with each other; those of a fine-tune are near 1."""
_FEWEST = 4


@dataclass(slots=True)
class WeightCensus:
    """How many weights differ, and how. Weights that are packed, as quantised ones are, are not counted."""

    compared: int = 0
    """How many of the reference's weights the candidate has under the same name."""
    differing: int = 0
    """Those that differ beyond rounding."""
    matrices: int = 0
    """Those of two dimensions and more; vectors are much alike in all models."""
    reshaped: int = 0
    """Matrices of another shape."""
    unrelated: int = 0
    """Matrices of the same shape with unrelated values, and not the reference's in another place or order."""
    missing: int = 0
    """Matrices of the reference that the candidate has under no name that is known."""
    changes: tuple[float, ...] = ()
    """By what share of its norm each of the other differing weights was changed."""

    @property
    def are_other_models(self) -> bool:
        """Whether most weights have nothing to do with the reference's."""
        others, of = self.reshaped + self.unrelated, self.matrices + self.missing
        if self.missing > _MOST * of:
            # Names may be others alone: then what has the same name agrees.
            return of >= _FEWEST and 0 < self.matrices == others
        return self.matrices >= _FEWEST and others > _MOST * self.matrices

    def sentence(self, names: tuple[str, str]) -> str:
        """What makes them different models. `names` are the reference's class and the candidate's."""
        classes = "" if names[0] == names[1] else f"{names[1]} instead of {names[0]}; "
        if self.unrelated == self.matrices and not self.missing:
            return f"these are different models: {classes}all {self.matrices} weight matrices are unrelated"
        parts = [f"{self.unrelated} are unrelated to the reference's"] if self.unrelated else []
        parts += [f"{self.reshaped} have another shape"] if self.reshaped else []
        parts += [f"{self.missing} have no counterpart"] if self.missing else []
        of = self.matrices + self.missing
        return f"these are different models: {classes}of {of} weight matrices {listed(parts)}"

    def note(self) -> str | None:
        """That most weights differ a little, as those of a fine-tune; None if they do not."""
        if self.compared < _FEWEST or self.differing <= _MOST * self.compared or not self.changes:
            return None
        usual = percent(median(self.changes))
        return f"{self.differing} of {self.compared} weights differ, by {usual} of their norm at the median"


def cosine(one: Tensor, other: Tensor) -> float:
    """How alike the directions of two tensors of one shape are: 1 for the same, 0 for unrelated ones."""
    norms = float(one.norm() * other.norm())
    return float((one * other).sum()) / norms if norms else 0.0


def is_unrelated(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape have nothing to do with each other."""
    return abs(cosine(one, other)) < _UNRELATED


def only_the_models(findings: Sequence[Finding], sentence: str) -> list[Finding]:
    """One finding instead of those of weights and stages: where the first of them is."""
    first = findings[0].address if findings else "embed"
    return [Finding(FindingKind.MODEL, first, sentence)]


def other_models(findings: Sequence[Finding], compared: int, others: int) -> list[Finding]:
    """Findings of weights of which only hashes are known: one for all of them if most of those `compared` are others.

    `others` is how many are found nowhere in the reference.
    """
    if compared < _FEWEST or others <= _MOST * compared:
        return list(findings)
    many = f"{others} of {compared}"
    return only_the_models(findings, f"{many} weights differ, as in a different model or one that was trained further")


def is_another_model(findings: Sequence[Finding]) -> bool:
    """Whether a finding says that the models are different ones."""
    return any(each.kind is FindingKind.MODEL for each in findings)
