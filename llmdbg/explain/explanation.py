"""What `explain` answers."""

from __future__ import annotations

from dataclasses import dataclass

from llmdbg.display import Displayed
from llmdbg.explain.facts import StageFacts


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Displayed):
    """One stage explained: `plain` paragraphs for anybody, `engineer` lines with shapes, formula and source.

    `terms` are the glossary's entries that the paragraphs speak of; `facts` is what all of it was made from. Words of
    the model stand in double quotes, as the vocabulary spells them: whoever shows them makes them harmless.
    """

    title: str
    plain: tuple[str, ...]
    engineer: tuple[str, ...]
    terms: tuple[str, ...]
    facts: StageFacts
