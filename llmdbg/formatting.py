"""How numbers, sizes, times and lists are written for people, and what to suggest for a misspelt word.

Everything a user reads goes through these functions, so the same quantity looks the same everywhere. They return ASCII
and import nothing of llmdbg.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

_BYTE_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_LARGE_NUMBERS = (("B", 1e9), ("M", 1e6), ("k", 1e3))
_ROUNDS_TO_ONE = 0.99995
"""So that a size just below a unit is `1.0 GiB` and not `1024.0 MiB`."""


def percent(share: float, decimals: int = 1) -> str:
    """`41.2%`, with a fixed number of decimals, for tables. A share too small for them is `<0.1%`, never `0.0%`."""
    if math.isnan(share):
        return "NaN"
    text = f"{100 * share:.{decimals}f}%"
    # Asked of the text: what rounds to even may write nothing where a comparison with half a digit would not.
    return text if share <= 0 or float(text.rstrip("%")) else f"<{10.0**-decimals:.{decimals}f}%"


def percent_in_prose(share: float) -> str:
    """`41%`, `3.2%` or `less than 0.1%`: one decimal where it matters, and 0 or 100 only where it is exact."""
    value = 100 * share
    if 0 < value < 0.1:
        return "less than 0.1%"
    if value < 9.95 or 99 < value < 100:
        return f"{min(value, 99.9):.1f}%" if value else "0%"
    return f"{value:.0f}%"


def percent_of_many(share: float) -> str:
    """A share of very many values, to three significant digits: `12.5%`, `0.00123%`, `<0.001%`."""
    value = 100 * share
    return "0%" if share == 0 else "<0.001%" if value < 0.001 else f"{value:.3g}%"


def byte_count(count: int | None) -> str:
    """A size in binary units: `812 B`, `45 KiB`, `13.5 GiB`; `?` for None."""
    if count is None:
        return "?"
    for unit, size in _BYTE_UNITS:
        if count >= _ROUNDS_TO_ONE * size:
            return f"{count // size} {unit}" if count % size == 0 else f"{count / size:.1f} {unit}"
    return f"{count} B"


def milliseconds(ms: float, decimals: int | None = None) -> str:
    """`0.41 ms`; without `decimals`, three significant digits from 1 ms on: `3.20 ms`, `54.9 ms`, `312 ms`."""
    if decimals is None:
        decimals = 2 if ms < 9.995 else 1 if ms < 99.95 else 0
    return f"{ms:.{decimals}f} ms"


def seconds(value: float) -> str:
    """`0.82 s`, `14 s`."""
    return f"{value:.0f} s" if value >= 10 else f"{value:.2f} s"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 token`, `49,152 tokens`. The plural ends in s unless it is given."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


def large_number(number: int) -> str:
    """`134.5 M`, `7.2 B`, `912`."""
    for letter, size in _LARGE_NUMBERS:
        if number >= _ROUNDS_TO_ONE * size:
            return f"{number / size:.1f} {letter}"
    return str(number)


def significant(value: float) -> str:
    """At most three significant digits: `0.7`, `41.2`, `1.2e+04`."""
    return f"{value:.3g}"


def likeliest(rank: int | None) -> str:
    """Which of the likeliest a token is, by its rank from 1: `the likeliest`, `the 303rd likeliest`.

    None, for a rank that is not known, is `not among the likeliest`.
    """
    if rank is None:
        return "not among the likeliest"
    if rank == 1:
        return "the likeliest"
    ending = "th" if 10 <= rank % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"the {rank:,}{ending} likeliest"


def listed(items: Sequence[object], last: str = "and") -> str:
    """`1, 2 and 3`; `last` stands before the last item."""
    words = [str(each) for each in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def printable(text: str) -> str:
    r"""`text` in one line, what is not printable as Python writes it: `\n`, `\x1b`."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def shortened(text: str) -> str:
    """A message without the middle of what is far too long in it: a word of more than 300 characters, or all of it.

    A message quotes what somebody typed or wrote, of any length; its beginning says what is wrong, its end what to do.
    """
    if len(text) <= _LONGEST_WORD:
        return text
    text = _TOO_LONG.sub(lambda word: _without_middle(word[0], *_KEPT_OF_WORD), text)
    return text if len(text) <= _LONGEST_MESSAGE else _without_middle(text, *_KEPT_OF_MESSAGE)


def numbered(count: int) -> str:
    """Which numbers `count` things have, after "there is no …": `they are 0 to 11`, `the only one is 0`."""
    return f"they are 0 to {count - 1}" if count > 1 else "the only one is 0" if count else "there is none"


def quote(text: str) -> str:
    """A model's word in double quotes, so that its leading space can be seen. The text is not made safe to display."""
    return f'"{text}"'


def quote_list(texts: Sequence[str]) -> str:
    """`" a", "b" and "c"`, as `quote` writes each."""
    return listed([quote(text) for text in texts])


def with_article(noun: str) -> str:
    """`a list`, `an int`."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def near_matches(word: str, known: Iterable[str], most: int = 1, *, alike: float | None = None) -> list[str]:
    """Up to `most` of `known` that `word` may be a misspelling of, the likeliest first; none when nothing is alike.

    `alike` is the ratio of matching characters, from 0 to 1, from which on a word may be meant; None for 0.6.
    """
    least = _ALIKE if alike is None else alike
    matcher = SequenceMatcher()
    matcher.set_seq2(word)
    found = []
    for name in known:
        matcher.set_seq1(name)
        # The cheap upper bounds first: `known` may be long.
        if matcher.real_quick_ratio() >= least and matcher.quick_ratio() >= least and matcher.ratio() >= least:
            found.append(name)
    return sorted(found, key=lambda name: _likeness(word, name), reverse=True)[:most]


def nearest_or_all(word: str, known: Sequence[str]) -> str:
    """`the nearest is 'norm'`, or `there are a, b and c` when no known word is alike."""
    near = near_matches(word, known)
    return f"the nearest is {near[0]!r}" if near else f"there are {listed(known)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean top_k?)`, or nothing when no known word is alike."""
    near = near_matches(word, known)
    return f" (did you mean {near[0]}?)" if near else ""


_LONGEST_WORD, _LONGEST_MESSAGE = 300, 3000
_KEPT_OF_WORD, _KEPT_OF_MESSAGE = (120, 60), (2000, 800)
"""How many characters are kept at the beginning and at the end."""
_TOO_LONG = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")


def _without_middle(text: str, first: int, last: int) -> str:
    return f"{text[:first]}... ({len(text) - first - last:,} more characters) ...{text[-last:]}"


_ALIKE = 0.6
"""From which ratio of matching characters on a word may be meant: `attn` for `self_attn`, and not `list` for `lens`."""


def _likeness(word: str, name: str) -> tuple[float, int]:
    return SequenceMatcher(None, word, name).ratio(), -abs(len(word) - len(name))
