"""Completion inside a condition or an expression: its last word, from the quantities and the locals of a stop."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from llmdbg.probes.quantities import NAMES, OF_OUTPUT, of_local

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words

_LAST_WORD = re.compile(r'(?:[^\W\d]\w*(?:\("[\w.]*)?)?$')
_BETWEEN = ("and", "or", "not")


def last_word(typed: str) -> str:
    """What is completed of a condition: `absm`, `absmax("att`; empty behind a space or a sign."""
    found = _LAST_WORD.search(typed)
    return found[0] if found is not None else ""


def complete_condition(typed: str, words: Words) -> Sequence[str]:
    """What the last word may be: `absmax`, or `absmax("attn_weights")` where that is a local.

    Of an empty word that is every quantity behind the `if`, and nothing elsewhere.
    """
    word = last_word(typed)
    if not word:
        return tuple(f"{each} " for each in NAMES) if typed.endswith(" if ") else ()
    return tuple(f"{each} " for each in (*NAMES, *_BETWEEN, *_of_locals(words)) if each.startswith(word))


def _of_locals(words: Words) -> Iterator[str]:
    for quantity in OF_OUTPUT:
        yield from (of_local(quantity, local) for local in words.locals)
