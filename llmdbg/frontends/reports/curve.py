"""Errors along the stages as a curve: an inline SVG with a logarithmic scale, drawn without a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from llmdbg.frontends.reports.page import shown

_WIDTH, _HEIGHT = 900, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 40, 26, 40
_FEWEST_DECADES = 2
_MOST_NAMES = 34


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of the picture."""

    name: str
    """What the legend calls it."""
    style: str
    """Its class: `accumulated`, `isolated`, `floor` or `float64`."""
    values: Sequence[float | None]
    """A value for each stage; None where there is none."""
    dots: Sequence[str] = ()
    """What each value is of, which its dot says; none for no dots."""


def curves_svg(names: Sequence[str], curves: Sequence[Curve], marked: int | None, mark: str) -> str:
    """Curves over stages; a line with the text `mark` stands at the stage number `marked`. Empty without any value.

    Zero is drawn on the axis, and what is not finite at the top.
    """
    numbers = [each for curve in curves for each in curve.values if each and isfinite(each)]
    if not numbers or not names:
        return ""
    low, high = floor(log10(min(numbers))), ceil(log10(max(numbers)))
    high = max(high, low + _FEWEST_DECADES)
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(names) - 1)

    def x(at: int) -> float:
        return round(_LEFT + at * step, 1)

    def y(value: float) -> float:
        if not isfinite(value):
            return _TOP
        share = 0.0 if value <= 0 else max(0.0, (log10(value) - low) / (high - low))
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [*_scale(low, high, y), *_names(names, x)]
    if marked is not None:
        anchor = "end" if marked > len(names) / 2 else "start"
        parts.append(f'<line class="first" x1="{x(marked)}" x2="{x(marked)}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text class="first" x="{x(marked)}" y="{_TOP - 10}" text-anchor="{anchor}">{shown(mark)}</text>')
    for curve in curves:
        parts += _curve(curve, x, y)
    return (
        f'<figure class="wide"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Errors along the stages, on a logarithmic scale">{"".join(parts)}</svg>{_legend(curves)}</figure>'
    )


def _scale(low: int, high: int, y: Callable[[float], float]) -> list[str]:
    every = max(1, (high - low) // 8)
    parts = []
    for power in range(low, high + 1, every):
        at = y(10.0**power)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">1e{power}</text>')
    return parts


def _names(names: Sequence[str], x: Callable[[int], float]) -> list[str]:
    every = max(1, ceil(len(names) / _MOST_NAMES))
    kept = [at for at in range(len(names)) if at % every == 0 or not names[at].isdecimal()]
    turned = max(len(names[at]) for at in kept) > 2
    parts = []
    for at in kept:
        left, top = x(at), _HEIGHT - _BOTTOM + 14
        turn = f' transform="rotate(40 {left} {top})"' if turned and not names[at].isdecimal() else ""
        anchor = "start" if turn else "middle"
        parts.append(f'<text x="{left}" y="{top}" text-anchor="{anchor}"{turn}>{shown(names[at])}</text>')
    return parts


def _curve(curve: Curve, x: Callable[[int], float], y: Callable[[float], float]) -> list[str]:
    path, pen = [], "M"
    for at, value in enumerate(curve.values):
        if value is None:
            pen = "M"
            continue
        path.append(f"{pen}{x(at)} {y(value)}")
        pen = "L"
    parts = [f'<path class="curve {curve.style}" d="{"".join(path)}"/>'] if path else []
    if curve.dots:
        parts += [
            f'<circle class="{curve.style}" cx="{x(at)}" cy="{y(value)}" r="2.6">'
            f"<title>{shown(of)}: {value:.1e}</title></circle>"
            for at, (value, of) in enumerate(zip(curve.values, curve.dots, strict=True))
            if value is not None
        ]
    return parts


def _legend(curves: Sequence[Curve]) -> str:
    drawn = [each for each in curves if any(value is not None for value in each.values)]
    return f'<figcaption class="legend">{"".join(map(_key, drawn))}</figcaption>'


def _key(curve: Curve) -> str:
    line = f'<svg viewBox="0 0 26 10"><path class="curve {curve.style}" d="M1 5L25 5"/></svg>'
    return f"<span>{line} {shown(curve.name)}</span>"
