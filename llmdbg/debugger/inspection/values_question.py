"""What `info values` and `x` are asked: read without a model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmdbg.errors import CommandError

_WORDS = re.compile(
    r"(?P<name>(?:layers?\s+)?[^\[\s]*)\s*(?P<slice>\[[^\]]*\])?\s*"
    r"(?:\bby\s+(?P<magnitude>magnitude)|\bas\s+(?P<mean>mean\s+)?(?P<heat>heat))?",
    re.IGNORECASE,
)
_USAGE = "write [ADDRESS][SLICE], then `by magnitude`, `as heat` or `as mean heat`, as in 12.mlp[0, -1] by magnitude"


@dataclass(frozen=True, slots=True)
class ValuesQuestion:
    """Which values to show."""

    name: str = ""
    """A stage's address or a parameter's name; empty for where the run stands."""
    slice: str = ""
    """The slice as typed; empty for the vector at the focus, or a whole parameter."""
    how: str = "numbers"
    """`numbers`, `magnitude`, `heat` or `mean heat`."""


def read_question(arguments: str) -> ValuesQuestion:
    """Parse `[ADDRESS][SLICE] [by magnitude | as heat | as mean heat]`. Raises CommandError."""
    words = _WORDS.fullmatch(arguments.strip())
    if words is None:
        raise CommandError(f"{arguments.strip()!r} cannot be read: {_USAGE}")
    how = "magnitude" if words["magnitude"] else "numbers"
    if words["heat"]:
        how = "mean heat" if words["mean"] else "heat"
    name = words["name"].strip()
    return ValuesQuestion("" if name == "." else name, words["slice"] or "", how)


def without_in(name: str) -> tuple[str, bool]:
    """`12.mlp.in` is the input of `12.mlp`: no module can be called `in`, which is Python's own word."""
    return (name.removesuffix("in").removesuffix("."), True) if f".{name}".endswith(".in") else (name, False)


def tensor_names(arguments: str) -> tuple[str, ...]:
    """The names of a stage or a parameter in a question; none where it is about where the run stands."""
    name, _ = without_in(read_question(arguments).name)
    return (name,) if name else ()
