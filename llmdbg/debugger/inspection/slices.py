"""Slices of a tensor as the user types them, in Python's syntax: `[0, -1, 100:200]`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmdbg.errors import CommandError
from llmdbg.probes.axes import Axes

_PART = re.compile(r"\s*(?:(?P<index>[-+]?\d{1,18})|(?P<start>[-+]?\d{1,18})?\s*:\s*(?P<stop>[-+]?\d{1,18})?"
                   r"\s*(?::\s*(?P<step>[-+]?\d{1,18})?)?|(?P<dots>\.\.\.|…))\s*", re.ASCII)  # fmt: skip
_HINT = "write it as in Python: [0, -1, 100:200], [..., ::2]"


def read_slice(text: str, shape: Sequence[int]) -> Axes:
    """The indices that `text` selects from a tensor of this shape; all of them if it is empty or `[]`.

    Dimensions that are left out are taken whole. Raises CommandError for invalid syntax, for more indices than
    dimensions, for an index out of range, and for a range that selects nothing.
    """
    inside = text.strip().removeprefix("[").removesuffix("]")
    parts = [_part(each, text) for each in inside.split(",")] if inside.strip() else []
    dots = [place for place, part in enumerate(parts) if part["dots"]]
    named = len(parts) - len(dots)
    if len(dots) > 1:
        raise CommandError(f"{text} has more than one `...`: which dimensions would each stand for?")
    if named > len(shape):
        raise CommandError(f"{text} names {named} dimensions, and the tensor has {len(shape)}: {list(shape)}")
    before = dots[0] if dots else len(parts)
    after = parts[before + 1 :]
    whole = [range(size) for size in shape[before : len(shape) - len(after)]]
    first = [
        _taken(part, size, text, axis) for axis, (part, size) in enumerate(zip(parts[:before], shape, strict=False))
    ]
    start = len(shape) - len(after)
    last = [_taken(part, shape[start + n], text, start + n) for n, part in enumerate(after)]
    return (*first, *whole, *last)


def _part(text: str, whole: str) -> re.Match[str]:
    found = _PART.fullmatch(text)
    if found is None:
        raise CommandError(f"{whole} cannot be read at {text.strip()!r}: {_HINT}")
    return found


def _taken(part: re.Match[str], size: int, text: str, axis: int) -> int | range:
    if part["index"] is not None:
        index = int(part["index"])
        if not -size <= index < size:
            valid = "it is empty" if size == 0 else f"0 to {size - 1}, or -{size} to -1"
            raise CommandError(f"{text} is out of range: dimension {axis} has no {index} ({valid})")
        return index % size
    start, stop, step = (None if part[name] is None else int(part[name]) for name in ("start", "stop", "step"))
    if step is not None and step <= 0:
        raise CommandError(f"{text} has a step of {step}: steps are 1 or more")
    taken = range(size)[start:stop:step]
    if size and not taken:
        raise CommandError(f"{text} selects nothing: dimension {axis} runs from 0 to {size - 1}")
    return taken


def slice_text(axes: Axes, shape: Sequence[int]) -> str:
    """A slice as text, as short as possible; empty for the whole tensor."""
    parts = [
        str(each) if isinstance(each, int) else _range_text(each, size) for each, size in zip(axes, shape, strict=True)
    ]
    while parts and parts[-1] == ":":
        parts.pop()
    return f"[{', '.join(parts)}]" if parts else ""


def _range_text(taken: range, size: int) -> str:
    if taken == range(size):
        return ":"
    last = "" if taken.step == 1 else f":{taken.step}"
    return f"{taken.start or ''}:{'' if taken.stop >= size else taken.stop}{last}"
