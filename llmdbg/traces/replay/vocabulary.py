"""The tokens whose texts a recording holds. It has no tokenizer: what it does not spell, it does not know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmdbg.errors import CommandError
from llmdbg.formatting import quote
from llmdbg.models.tokens import Token
from llmdbg.traces.records import PromptRecord

_HIGH_BYTES = re.compile("(?:<0x[89A-Fa-f][0-9A-Fa-f]>)+")
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


class RecordedVocabulary:
    """What is known of a run's vocabulary."""

    def __init__(
        self, prompt: PromptRecord, texts: Mapping[int, str], size: int | None, settings: Mapping[str, Any]
    ) -> None:
        """`texts` are those of generated ids and of candidates, and `settings` the model's generation config."""
        self.size = size
        self._texts = dict(texts) | dict(zip(prompt.ids, prompt.tokens, strict=False))
        self._special = {id for id, special in zip(prompt.ids, prompt.special, strict=False) if special}
        for name in _SPECIAL:
            given = settings.get(name)
            self._special |= {id for id in (given if isinstance(given, list) else [given]) if type(id) is int}

    def token(self, id: int) -> Token:
        """The token of an id, which is spelled `<id 42>` where the recording does not say what it stands for."""
        text = self.text(id)
        return Token(id, text, text, id in self._special)

    def text(self, id: int) -> str:
        """The text of an id, its leading space included."""
        return self._texts.get(id, f"<id {id}>")

    def id_of(self, text: str) -> int | None:
        """The id of a token that the recording spells; None if it spells none like this."""
        return next((id for id, known in self._texts.items() if known == text), None)

    def split(self, text: str) -> list[int]:
        """The ids of a text that is one token. Raises CommandError for any other: there is no tokenizer."""
        id = self.id_of(text)
        if id is None:
            raise CommandError(
                f"{quote(text)} is none of the tokens that the recording spells, and it has no tokenizer to split it"
            )
        return [id]

    def decode(self, ids: Sequence[int]) -> str:
        """The texts of several ids together, without special tokens; bytes that make up a character are joined."""
        text = "".join(self.text(id) for id in ids if id not in self._special)
        return _HIGH_BYTES.sub(lambda found: _bytes(found[0]).decode("utf-8", "replace"), text)


def _bytes(escapes: str) -> bytes:
    return bytes(int(each, 16) for each in re.findall("<0x(..)>", escapes))
