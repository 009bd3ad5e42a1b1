"""What `explain` answers."""

from __future__ import annotations

from dataclasses import dataclass

from llmdbg.display import Displayed
from llmdbg.explain.facts import StageFacts


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Displayed):
    """One stage explained. The model's words are in double quotes, unsafe to display: front ends sanitize them."""

    title: str
    """What the stage is called, and what happens there."""
    plain: tuple[str, ...]
    """Paragraphs for anybody."""
    engineer: tuple[str, ...]
    """Lines with shapes, formulas and papers, for engineers."""
    terms: tuple[str, ...]
    """The names of the glossary entries that the paragraphs mention."""
    facts: StageFacts
    """What all of it was made from."""
