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
_PARTS = {"in": "input", "return": "output"}
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


def split_part(name: str) -> tuple[str, str, tuple[str, ...]]:
    """Split `12.mlp.gate.return.router_indices` into the stage's name, `output` or `input`, and which of its values.

    `.in` and `.return` are Python's own words, which no module can be called.
    """
    words = name.split(".")
    for at, word in enumerate(words):
        if word in _PARTS:
            return ".".join(words[:at]), _PARTS[word], tuple(words[at + 1 :])
    return name, "output", ()


def tensor_names(arguments: str) -> tuple[str, ...]:
    """The names of a stage or a parameter in a question; none where it is about where the run stands."""
    name, _, _ = split_part(read_question(arguments).name)
    return (name,) if name else ()
