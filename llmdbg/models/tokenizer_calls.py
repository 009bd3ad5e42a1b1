"""Calls into a tokenizer, which is whatever its files made of it: one may fail in any way, on any text and any ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
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
