"""The sliders of the candidates pane: the values that each passes through, and the command that sets them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import fields
from typing import TYPE_CHECKING

from llmdbg.probes.sampling_choice import SamplingChoice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SLIDE = "slide"
"""The action of a slider's row; its argument is the setting's name."""

SLIDERS: tuple[str, ...] = tuple(each.name for each in fields(SamplingChoice))
"""The settings with a slider, in the order `generate()` applies them."""

_ALL = 1 << 31
_LADDERS: Mapping[str, Sequence[float]] = {
    "temperature": tuple(round(0.05 * step, 2) for step in range(1, 41)),
    "top_k": (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, 1000, _ALL),
    "top_p": (*(round(0.05 * step, 2) for step in range(1, 20)), 0.97, 0.98, 0.99, 1.0),
}
"""The values of each, from least to greatest; keeping every token is the greatest top-k."""


def slid(choice: SamplingChoice, name: str, by: int) -> SamplingChoice:
    """The choice with one setting moved to the next value, `by` 1 up and -1 down; at the end it stays."""
    ladder, value = _LADDERS[name], _on_ladder(choice, name)
    at = bisect_right(ladder, value) if by > 0 else bisect_left(ladder, value) - 1
    if not 0 <= at < len(ladder):
        return choice
    values = {each: getattr(choice, each) for each in SLIDERS}
    return SamplingChoice(**values | {name: 0 if ladder[at] == _ALL else ladder[at]})


def share(choice: SamplingChoice, name: str) -> float:
    """How far along its slider a setting is, from 0 to 1."""
    ladder = _LADDERS[name]
    return min(len(ladder) - 1, bisect_left(ladder, _on_ladder(choice, name))) / (len(ladder) - 1)


def value_text(choice: SamplingChoice, name: str) -> str:
    """A setting's value in words: `0.8`, `all`."""
    value = getattr(choice, name)
    return "all" if name == "top_k" and not value else f"{value:g}"


def set_line(now: SamplingChoice, wanted: SamplingChoice, *, samples: bool) -> str:
    """The command that sets what is wanted; empty if that is in force. Of a greedy choice, the temperature draws."""
    names = [name for name in SLIDERS if getattr(now, name) != getattr(wanted, name)]
    if not samples and names and "temperature" not in names:
        names.insert(0, "temperature")
    return f"set {' '.join(f'{name} {getattr(wanted, name):g}' for name in names)}" if names else ""


def slider_of(do: str) -> str | None:
    """The setting that a row's action slides; None if it is no slider."""
    action, _, name = do.partition(" ")
    return name if action == SLIDE and name in SLIDERS else None


def _on_ladder(choice: SamplingChoice, name: str) -> float:
    value: float = getattr(choice, name)
    return _ALL if name == "top_k" and not value else value
