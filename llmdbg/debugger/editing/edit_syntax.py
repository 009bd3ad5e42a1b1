"""How an edit is written: its parts as text, without a model. `edit_language` says what they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmdbg.debugger.quoting import pieces
from llmdbg.errors import EditError

USAGE = {
    "zero": "zero ADDRESS [at POSITIONS]",
    "scale": "scale ADDRESS FACTOR [at POSITIONS]",
    "ablate": "ablate ADDRESS heads=3,5 [at POSITIONS]",
    "patch": "patch ADDRESS from OTHER [at POSITIONS]",
    "edit": "edit EXPR",
}
"""How each command that makes an edit is written."""

BESIDE = "reference"
"""What `patch … from` calls the run that stands beside this one."""

WORDS = tuple(USAGE)
"""The commands that make an edit."""

_NEEDS = {
    "zero": "an address",
    "scale": "an address and a number",
    "ablate": "an address and heads=…",
    "patch": "an address and another run",
    "edit": "Python that makes another `out`, as in `edit out * 2`",
}
_HEADS = re.compile(r"(?P<address>.*?)\s*\bheads\s*=\s*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NamedEdit:
    """The parts of an edit that names its stages."""

    address: str
    """The stages, as typed."""
    value: str = ""
    """The factor, the heads or the other run, in its quotes; empty for `zero`."""
    positions: str | None = None
    """What follows `at`, without spaces; None without `at`."""


def split_edit(word: str, rest: str) -> NamedEdit:
    """Split what follows `zero`, `scale`, `ablate` or `patch`. Raises EditError where a part is missing."""
    # Another run is named in quotes, with options that may hold any word.
    words = [each for each in pieces(rest, " ") if each.strip()] if word == "patch" else rest.split()
    where = words.index("at") if "at" in words else len(words)
    what = " ".join(words[:where])
    positions = "".join(words[where + 1 :]) if where < len(words) else None
    address, value = what, ""
    if word == "scale":
        address, _, value = what.rpartition(" ")
    elif word == "ablate":
        parts = _HEADS.fullmatch(what)
        address, value = (parts["address"], parts["value"]) if parts else ("", "")
    elif word == "patch":
        address, _, value = f"{what} ".partition(" from ")
    address, value = address.strip(), value.strip()
    if not address or (word == "patch" and not value):
        raise incomplete(word)
    return NamedEdit(address, value, positions)


def incomplete(word: str) -> EditError:
    """The error for an edit that lacks a part."""
    return EditError(f"{word} needs {_NEEDS[word]}: {USAGE[word]}")
