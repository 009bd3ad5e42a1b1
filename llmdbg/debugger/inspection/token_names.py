"""From what the user types to a token: `65`, `" is"`, `is`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector


def token_id(inspector: Inspector, word: str) -> int:
    """The id that `word` means: an id, quoted text, or a bare word, with or without a space before it.

    Raises CommandError for an id outside the vocabulary or of more than 9 digits, and for text that is not exactly one
    token.
    """
    if word.isdecimal() and word.isascii():
        size = inspector.vocabulary.size
        if size is not None and (len(word) > 9 or int(word) >= size):
            raise CommandError(f"the vocabulary has ids 0 to {size - 1}, not {word}")
        if len(word) > 9:
            raise CommandError(f"an id has at most 9 digits, and {word[:20]} has {len(word)}")
        return int(word)
    text = _unquoted(word)
    id = inspector.vocabulary.id_of(text)
    if id is not None:
        return id
    if text == word and (id := inspector.vocabulary.id_of(f" {text}")) is not None:
        return id
    pieces = inspector.vocabulary.split(text)
    if len(pieces) < 2:
        raise CommandError(f"no token stands for {word}: `info candidates` lists the likeliest with their ids")
    spelled = " + ".join(f"{quoted_token(inspector, each)} ({each})" for each in pieces[:6])
    raise CommandError(f"{word} is {len(pieces)} tokens here, {spelled}: name one of them")


def quoted_token(inspector: Inspector, id: int) -> str:
    """A token's text in JSON's quotes, as messages show it."""
    return json.dumps(inspector.vocabulary.text(id), ensure_ascii=False)


def _unquoted(word: str) -> str:
    if len(word) > 1 and word[0] == word[-1] == '"':
        try:
            return str(json.loads(word))
        except ValueError:
            return word[1:-1]
    return word[1:-1] if len(word) > 2 and word[0] == word[-1] == "'" else word
