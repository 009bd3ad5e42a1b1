"""What a program's token ids stand for: the tokenizer that it made, one that lies with the model, or none."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.models.tokens import Token

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


class IdVocabulary:
    """A vocabulary of which only the ids are known: each is shown as its number, with a space in front."""

    def __init__(self, size: int | None) -> None:
        self.size = size

    def token(self, id: int) -> Token:
        """The token of an id."""
        return Token(id, str(id), self.text(id), special=False)

    def text(self, id: int) -> str:
        """The id."""
        return f" {id}"

    def id_of(self, text: str) -> int | None:
        """The id that is written."""
        number = int(text) if text.strip().isdecimal() and len(text) < 10 else None
        return number if number is not None and (self.size is None or number < self.size) else None

    def split(self, text: str) -> list[int]:
        """The ids that are written, separated by spaces."""
        return [int(each) for each in text.split() if each.isdecimal()]

    def decode(self, ids: Sequence[int]) -> str:
        """The ids, separated by spaces."""
        return " ".join(map(str, ids))


def find_tokenizer(model: nn.Module, size: int | None) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a program's model; None if none is at hand. Downloads nothing."""
    name = str(getattr(getattr(model, "config", None), "name_or_path", "") or "")
    return _made_by_the_program(name, size) or _lying_with_the_model(name)


def _made_by_the_program(name: str, size: int | None) -> PreTrainedTokenizerBase | None:
    """The one with the model's name, or else the only one whose ids fit."""
    import sys

    if "transformers.tokenization_utils_base" not in sys.modules:
        return None
    from transformers import PreTrainedTokenizerBase

    with warnings.catch_warnings():
        # Asking some objects what they are warns.
        warnings.simplefilter("ignore")
        made: list[Any] = [each for each in gc.get_objects() if issubclass(type(each), PreTrainedTokenizerBase)]
    fitting = [each for each in made if size is None or len(each) <= size]
    named = [each for each in fitting if name and str(getattr(each, "name_or_path", "")) == name]
    return named[0] if named else fitting[0] if len(fitting) == 1 else None


def _lying_with_the_model(name: str) -> PreTrainedTokenizerBase | None:
    if not name or not _is_here(name):
        return None
    import logging

    from transformers import AutoTokenizer

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                name, local_files_only=True, trust_remote_code=False
            )
            return found
    except Exception:  # whatever is wrong with its files, ids can be shown
        return None
    finally:
        logging.disable(before)


def _is_here(name: str) -> bool:
    if Path(name).is_dir():
        return any((Path(name) / each).exists() for each in ("tokenizer.json", "tokenizer_config.json"))
    if name.count("/") > 1:
        return False
    from transformers.utils import cached_file

    try:
        options = {"local_files_only": True, "_raise_exceptions_for_missing_entries": False}
        return cached_file(name, "tokenizer_config.json", **options) is not None
    except Exception:  # no name of the Hub, or not in the cache
        return False
