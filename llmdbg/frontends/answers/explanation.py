"""Explanations and glossary entries as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llmdbg.frontends.sanitize import token_text

if TYPE_CHECKING:
    from llmdbg.explain.explanation import Explanation
    from llmdbg.explain.glossary import Term
    from llmdbg.frontends.answers.tables import Table


def explanation_lines(value: Explanation) -> list[str]:
    """The title, the paragraphs, what engineers want to know, and the words there are entries for."""
    lines = [token_text(value.title), *(f"  {token_text(text)}" for text in value.plain)]
    lines += [f"  | {token_text(text)}" for text in value.engineer]
    return [*lines, f"  terms: {', '.join(value.terms)}"] if value.terms else lines


def term_lines(value: Term) -> list[str]:
    """A glossary entry."""
    also = f" (also: {', '.join(value.aliases)})" if value.aliases else ""
    return [f"{value.name}{also}", f"  {value.text}", f"  {value.like}", f"  see also: {', '.join(value.see)}"]


WRITERS: dict[str, Callable[[Any], list[str]]] = {"Explanation": explanation_lines, "Term": term_lines}
TABLES: dict[str, Callable[[Any], Sequence[Table]]] = {}
