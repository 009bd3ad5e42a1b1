"""Explanations and glossary entries as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.sanitize import token_text

if TYPE_CHECKING:
    from llmdbg.explain.explanation import Explanation
    from llmdbg.explain.glossary import Term


def explanation_lines(value: Explanation) -> list[str]:
    """The title, the paragraphs, the lines for engineers, and the glossary entries the paragraphs mention."""
    lines = [token_text(value.title), *(f"  {token_text(text)}" for text in value.plain)]
    lines += [f"  | {token_text(text)}" for text in value.engineer]
    return [*lines, f"  terms: {', '.join(value.terms)}"] if value.terms else lines


def term_lines(value: Term) -> list[str]:
    """A glossary entry."""
    also = f" (also: {', '.join(value.aliases)})" if value.aliases else ""
    return [f"{value.name}{also}", f"  {value.text}", f"  {value.like}", f"  see also: {', '.join(value.see)}"]
