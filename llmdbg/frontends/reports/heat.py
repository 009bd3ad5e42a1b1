"""Errors by stage and token as a table of shaded cells."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, log10

from llmdbg.frontends.reports.page import shown, table

_SHADES = 9
_MOST_TOKENS = 48


def heat_table(rows: Sequence[tuple[str, Sequence[float | None]]], tokens: Sequence[str], first: str | None) -> str:
    """A row for each stage, a column for each token, dark where the error is large. `first` is the row to mark.

    Of more than 48 tokens the first are shown. Empty without any error.
    """
    numbers = [each for _, values in rows for each in values if each and isfinite(each)]
    broken = any(each is not None and not isfinite(each) for _, values in rows for each in values)
    if not (numbers or broken):
        return ""
    low, high = (log10(min(numbers)), log10(max(numbers))) if numbers else (0.0, 1.0)
    titles = ["stage", *(f"{at} {text.strip() or text}" for at, text in enumerate(tokens[:_MOST_TOKENS]))]
    lines = ([shown(name), *(_cell(each, low, high) for each in values[:_MOST_TOKENS])] for name, values in rows)
    made = table(titles, lines, name="heat", marked=None if first is None else shown(first))
    left = len(tokens) - _MOST_TOKENS
    return made + (f'<p class="soft">and {left:,} more tokens</p>' if left > 0 else "")


def _cell(value: float | None, low: float, high: float) -> str:
    if value is None:
        return "<td></td>"
    if not isfinite(value):
        return '<td class="hx">inf</td>'
    if not value:
        return "<td>0</td>"
    share = (log10(value) - low) / (high - low) if high > low else 1.0
    mantissa, _, power = f"{value:.0e}".partition("e")
    return f'<td class="h{min(_SHADES - 1, int(share * _SHADES))}">{mantissa}e{int(power)}</td>'
