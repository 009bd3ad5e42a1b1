"""The tables of README.md: which rows they have, and writing what was measured into them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

README = Path(__file__).parent / "README.md"
NOT_MEASURED = "not measured"

_HEAD = ("| | target | this machine | beside it, in the same run |", "| --- | --- | --- | --- |")


def rows(text: str, name: str) -> list[str]:
    """The rows of a benchmark's table, by the words in their first column."""
    begin, end = _span(text, name)
    cells = [line.split(" | ")[0].removeprefix("| ") for line in text[begin:end].splitlines()]
    return cells[len(_HEAD) :]


def filled(text: str, name: str, targets: Mapping[str, str], found: Mapping[str, Mapping[str, Any]]) -> str:
    """`text` with a benchmark's table made anew: its rows and targets, and the figures that were found."""
    lines = [*_HEAD]
    for row, target in targets.items():
        here, beside = (NOT_MEASURED, "") if row not in found else _cells(found[row])
        lines.append(f"| {row} | {target} | {here} | {beside} |".replace("|  |", "| |").replace("|  |", "| |"))
    begin, end = _span(text, name)
    return text[:begin] + "\n".join(lines) + "\n" + text[end:]


def with_machine(text: str, machine: str) -> str:
    """`text` with the machine named that its figures come from."""
    return re.sub(r"(?<=<!-- machine -->).*?(?=<!-- end -->)", lambda _: machine, text)


def _span(text: str, name: str) -> tuple[int, int]:
    """Where a benchmark's table begins and ends."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"README.md has no place for the figures of {name}")
    return found.span(1)


def _cells(figure: Mapping[str, Any]) -> tuple[str, str]:
    here = figure["here"]
    time = "" if here is None else _time(here, figure["unit"])
    beside = [_beside(spread, of) for of, spread in figure["beside"].items()]
    return time, "; ".join(beside) or (NOT_MEASURED if here is None else "")


def _time(spread: Mapping[str, float], unit: str) -> str:
    p95 = f", p95 {_number(spread['p95'])}" if unit == "ms" and spread["count"] >= 20 else ""
    return f"{_number(spread['median'])} {unit}{p95}"


def _beside(spread: Mapping[str, float], of: str) -> str:
    if not of.startswith("×"):
        return f"{spread['median']:,.0f} {of}"
    median, first, third = (_number(spread[each], places=3) for each in ("median", "first", "third"))
    return f"{median} ({first} … {third}) {of}"


def _number(value: float, places: int = 2) -> str:
    """Three digits, or more behind the point where a ratio lies near 1."""
    return f"{value:.{places}f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
