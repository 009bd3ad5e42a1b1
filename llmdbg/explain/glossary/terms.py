"""What a glossary entry is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmdbg.display import Displayed


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Term(Displayed):
    """One glossary entry, for a reader who knows what a token is and little more. All texts are ASCII."""

    name: str
    """The term as it is usually written."""
    text: str
    """What it is, in one to three sentences."""
    like: str
    """An analogy, in one sentence."""
    see: tuple[str, ...]
    """Names of related entries."""
    aliases: tuple[str, ...] = ()
    """Other ways to write the name."""

    @property
    def first_sentence(self) -> str:
        """What it is, in one sentence."""
        return re.split(r"(?<=\.) (?=[A-Z])", self.text, maxsplit=1)[0]
