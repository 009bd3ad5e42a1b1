"""Calls into a tokenizer, which is whatever its files made of it: one may fail in any way, on any text and any ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from llmdbg.errors import PromptError
from llmdbg.formatting import byte_count
from llmdbg.models.tokenizer_growth import TextTooLongError, decoded_size, require_text_stays_short

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")
_MOST_DECODED_BYTES = 64 * 2**20
_MOST_REASON = 200  # characters


class TokenizerFailedError(Exception):
    """The tokenizer raised. The message is the reason in one line."""


def ask_tokenizer(question: Callable[[], T]) -> T:
    """What `question()` returns. Raises TokenizerFailedError for whatever the tokenizer raises.

    What stops the program, such as a KeyboardInterrupt, is passed on.
    """
    try:
        return question()
    except BaseException as error:  # the library raises plain Exceptions for what is wrong with the tokenizer's files
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = " ".join(str(error).split())[:_MOST_REASON] or type(error).__name__
        raise TokenizerFailedError(reason) from error


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust failed. Its exception is not an Exception and cannot be imported."""
    return type(error).__name__ == "PanicException"


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, add_special_tokens: bool) -> tuple[int, ...]:
    """The ids of a text. Raises PromptError if the tokenizer fails, or would make the text far too long."""

    def ids() -> tuple[int, ...]:
        return tuple(int(id) for id in tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"])

    try:
        require_text_stays_short(tokenizer, text)
        return ask_tokenizer(ids)
    except TokenizerFailedError as error:
        raise PromptError(f"the model's tokenizer failed on this text: {error}") from error
    except TextTooLongError as error:
        raise PromptError(f"this text is too long for the model's tokenizer, which {error}: shorten it") from error


def decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
    """The text of ids. Raises TokenizerFailedError, also for ids that stand for far too much text."""
    length = {id: _length(tokenizer, id) for id in set(ids)}
    if decoded_size(tokenizer, sum(length[id] for id in ids)) > _MOST_DECODED_BYTES:
        raise TokenizerFailedError(f"they stand for more than {byte_count(_MOST_DECODED_BYTES)} of text")
    return ask_tokenizer(lambda: str(tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)))


def _length(tokenizer: PreTrainedTokenizerBase, id: int) -> int:
    """How many characters a token is spelled with."""
    return len(ask_tokenizer(lambda: str(tokenizer.convert_ids_to_tokens(id))))


def failed_to_decode(tokenizer: PreTrainedTokenizerBase, error: TokenizerFailedError) -> str:
    """A sentence that says so."""
    return (
        f"the model's tokenizer ({type(tokenizer).__name__}) fails to decode ids ({error}): texts are put together "
        "from single tokens"
    )
