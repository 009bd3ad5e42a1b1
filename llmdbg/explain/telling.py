"""How numbers and a model's words are written in the explanations.

Prose is ASCII, so that it may be shown on any terminal; a model's words stand in double quotes.
"""

from __future__ import annotations


def percent(part: float) -> str:
    """`41 %`; a tenth more where it is small, and never 0 or 100 for what is neither."""
    value = 100 * part
    if 0 < value < 0.1:
        return "less than 0.1 %"
    if value < 9.95 or 99 < value < 100:
        return f"{min(value, 99.9):.1f} %" if value else "0 %"
    return f"{value:.0f} %"


def count(number: int, thing: str = "") -> str:
    """`49,152`, or `1 token` and `3 tokens` given the thing."""
    if not thing:
        return f"{number:,}"
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size(amount: int) -> str:
    """Bytes: `538 MB`, `14.5 GB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= unit:
            value = amount / unit
            return f"{value:.0f} {name}" if value >= 100 else f"{value:.1f} {name}"
    return f"{amount} bytes"


def seconds(value: float) -> str:
    """`0.82 s`, `14 s`."""
    return f"{value:.0f} s" if value >= 10 else f"{value:.2f} s"


def number(value: float) -> str:
    """At most three digits that matter: `0.7`, `41.2`, `1.2e+04`."""
    return f"{value:.3g}"


def word(text: str) -> str:
    """A model's word in quotes, so that its spaces can be seen."""
    return f'"{text}"'


def words(texts: tuple[str, ...]) -> str:
    """`"a", "b" and "c"`."""
    quoted = [word(text) for text in texts]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def listed(numbers: tuple[int, ...]) -> str:
    """`1, 2 and 3`."""
    told = [str(each) for each in numbers]
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
