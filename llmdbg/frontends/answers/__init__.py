"""What commands answer, written as lines of text, as tables, as HTML and as JSON.

A command answers with a frozen value. To write a new type of answer:

1. put its functions into a module of this package: one that returns lines of text and tables from top to bottom, of
   which the terminal's text and a notebook's HTML are made, and one that returns tables for CSV if it has any;
2. register them for the type in `writers.py`, the only place where types and writers meet;
3. let the type inherit `Displayed`, so that it shows itself in a REPL and in a notebook.

A type that is not registered has no text (TypeError), its fields as one table, and its fields as JSON.
The writers import the types, and with them torch: they are imported when there is something to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmdbg.frontends.answers.tables import Table


def answer_lines(answer: object) -> list[str]:
    """An answer as lines of text, safe to print. Raises TypeError for a type without a writer."""
    from llmdbg.frontends.answers.writers import lines

    return lines(answer)


def answer_tables(answer: object) -> Sequence[Table]:
    """An answer as tables, for CSV. A table without columns means that the answer is not tabular."""
    from llmdbg.frontends.answers.writers import tables

    return tables(answer)


def answer_json(answer: object) -> Any:
    """An answer as what JSON can hold: dicts, lists, strings, numbers, booleans and None."""
    from llmdbg.frontends.answers.writers import json_value

    return json_value(answer)
