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
    found = (term(match[0]) for match in _pattern().finditer(own_words))
    return tuple(dict.fromkeys(entry.name for entry in found if entry is not None))


def _all_names() -> list[str]:
    return [name for entry in GLOSSARY for name in (*entry.aliases, entry.name)]


@cache
def _by_name() -> dict[str, Term]:
    return {_normalised(name): entry for entry in GLOSSARY for name in (*entry.aliases, entry.name)}


@cache
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(set(_all_names()), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})s?\b", re.IGNORECASE)


def _normalised(word: str) -> str:
    return re.sub(r"[\s_-]+", " ", word.strip().strip("\"'").lower())
