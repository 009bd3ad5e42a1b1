"""The glossary: what each word of the explanations means, for someone who has only read what a token is.

The entries are in `words_of_text.py`, `words_of_models.py`, `words_of_choosing.py` and `words_of_debugging.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from llmdbg.explain.glossary.debugging import DEBUGGING
from llmdbg.explain.glossary.model import MODELS
from llmdbg.explain.glossary.sampling import CHOOSING
from llmdbg.explain.glossary.text import TEXT
from llmdbg.formatting import near_matches


@dataclass(frozen=True, slots=True)
class Term:
    """One entry. `like` is an analogy, `see` are the names of other entries, `aliases` other ways to write the name."""

    name: str
    text: str
    like: str
    see: tuple[str, ...]
    aliases: tuple[str, ...] = ()


def _entries() -> tuple[Term, ...]:
    found = []
    for names, text, like, see in (*TEXT, *MODELS, *CHOOSING, *DEBUGGING):
        name, *aliases = names.split("|")
        found.append(Term(name, text, like, tuple(see.split("|")), tuple(aliases)))
    return tuple(sorted(found, key=lambda term: term.name.lower()))


GLOSSARY: tuple[Term, ...] = _entries()
"""Every entry, in the order of the alphabet."""

TERM_NAMES: tuple[str, ...] = tuple(term.name for term in GLOSSARY)


@cache
def _by_name() -> dict[str, Term]:
    return {_plain(name): term for term in GLOSSARY for name in (*term.aliases, term.name)}


def term(word: str) -> Term | None:
    """The entry of a word, whatever its case, its hyphens and a plural s; None where there is none."""
    key = _plain(word)
    return _by_name().get(key) or _by_name().get(key.removesuffix("s"))


def nearest_names(word: str) -> list[str]:
    """Every way to write an entry's name, the likeliest meant first."""
    names = {_plain(name): name for entry in GLOSSARY for name in (*entry.aliases, entry.name)}
    return [names[each] for each in near_matches(_plain(word), names, most=3)]


def terms_in(text: str) -> tuple[str, ...]:
    """The names of the entries that a text speaks of, in the order in which it does. Quoted words are not its own."""
    # A token may be a quotation mark itself.
    own_words = re.sub(r'"""|"[^"]*"', '""', text)
    found: dict[str, int] = {}
    for match in _pattern().finditer(own_words):
        entry = term(match[0])
        if entry is not None:
            found.setdefault(entry.name, match.start())
    return tuple(found)


@cache
def _pattern() -> re.Pattern[str]:
    names = sorted({name for entry in GLOSSARY for name in (*entry.aliases, entry.name)}, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})s?\b", re.IGNORECASE)


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]+", " ", word.strip().strip("\"'").lower())
