"""The glossary: what the words of the explanations mean, for someone who knows what a token is and little more.

The entries are `Term` objects in `text.py`, `model.py`, `sampling.py` and `debugging.py`; add a new one there.
"""

from __future__ import annotations

import re
from functools import cache

from llmdbg.explain.glossary.debugging import DEBUGGING_TERMS
from llmdbg.explain.glossary.model import MODEL_TERMS
from llmdbg.explain.glossary.sampling import SAMPLING_TERMS
from llmdbg.explain.glossary.terms import Term
from llmdbg.explain.glossary.text import TEXT_TERMS
from llmdbg.formatting import near_matches

__all__ = ["GLOSSARY", "TERM_NAMES", "Term", "nearest_names", "term", "terms_in"]

GLOSSARY: tuple[Term, ...] = tuple(
    sorted((*TEXT_TERMS, *MODEL_TERMS, *SAMPLING_TERMS, *DEBUGGING_TERMS), key=lambda entry: entry.name.lower())
)
"""Every entry, in alphabetical order."""

_WORD = re.compile(r"\w+")

TERM_NAMES: tuple[str, ...] = tuple(entry.name for entry in GLOSSARY)


def term(word: str) -> Term | None:
    """The entry for a word or one of its aliases; case, hyphens and a plural s do not matter. None if there is none."""
    key = _normalised(word)
    return _by_name().get(key) or _by_name().get(key.removesuffix("s"))


def nearest_names(word: str) -> list[str]:
    """Up to three names or aliases that `word` may be a misspelling of, the likeliest first."""
    names = {_normalised(name): name for name in _all_names()}
    return [names[each] for each in near_matches(_normalised(word), names, most=3)]


def terms_in(text: str) -> tuple[str, ...]:
    """The names of the entries that a text mentions, in order of first mention. Text in double quotes is skipped."""
    # A token may be a quotation mark itself.
    own_words = re.sub(r'"""|"[^"]*"', '""', text)
    names: dict[str, None] = {}
    by_first_word, end = _patterns(), 0
    for word in _WORD.finditer(own_words):
        # A pattern of all names would be tried at every word: an explanation at each stop took 2 ms for that alone.
        pattern = by_first_word.get(word[0].lower()) if word.start() >= end else None
        found = None if pattern is None else pattern.match(own_words, word.start())
        if found is not None:
            end = found.end()
            if (entry := term(found[0])) is not None:
                names[entry.name] = None
    return tuple(names)


def _all_names() -> list[str]:
    return [name for entry in GLOSSARY for name in (*entry.aliases, entry.name)]


@cache
def _by_name() -> dict[str, Term]:
    return {_normalised(name): entry for entry in GLOSSARY for name in (*entry.aliases, entry.name)}


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """What finds the longest name that begins at a word, by that word; a name of one word may be in the plural."""
    beginning: dict[str, list[str]] = {}
    for name in sorted(set(_all_names()), key=len, reverse=True):
        if (first := _WORD.match(name)) is not None:
            whole = first.end() == len(name)
            for word in (first[0], f"{first[0]}s") if whole else (first[0],):
                beginning.setdefault(word.lower(), []).append(name)
    return {
        word: re.compile(rf"(?:{'|'.join(map(re.escape, names))})s?\b", re.IGNORECASE)
        for word, names in beginning.items()
    }


def _normalised(word: str) -> str:
    return re.sub(r"[\s_-]+", " ", word.strip().strip("\"'").lower())
