"""From a prompt's text to the tokens that every front end shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from llmdbg.debugger.execution.stop import TokenRow
from llmdbg.models.configurations import context_length
from llmdbg.models.tokens import TokenizerVocabulary, encode_prompt

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from llmdbg.models.tokens import Prompt

MOST_EARLY_TOKENS = 1_000
"""How many of the prompt's tokens are shown before there is a first stop."""


class Cutting(TypedDict):
    """How a prompt is cut, as `encode_prompt` takes it."""

    chat: bool
    system: str | None
    left_pad: int


def cut_before_weights(
    tokenizer: PreTrainedTokenizerBase | None, config: PretrainedConfig, text: str, how: Cutting
) -> Prompt | None:
    """The prompt that a model of this configuration is fed.

    None if only its weights say how many ids there are: without a tokenizer, the prompt's bytes are counted modulo
    that. Raises what `encode_prompt` raises.
    """
    size = vocabulary_size(config)
    if tokenizer is None and not size:
        return None
    return encode_prompt(
        tokenizer,
        text,
        vocabulary_size=size or 0,
        context_length=context_length(config),
        **how,
    )


def vocabulary_size(config: PretrainedConfig) -> int | None:
    """How many ids a model has by its configuration; None if that does not say."""
    size = getattr(config.get_text_config(decoder=True), "vocab_size", None)
    return size if isinstance(size, int) else None


def prompt_rows(prompt: Prompt, tokenizer: PreTrainedTokenizerBase | None) -> tuple[TokenRow, ...]:
    """The first tokens of a prompt as every front end shows them, at most `MOST_EARLY_TOKENS`."""
    vocabulary = TokenizerVocabulary(tokenizer)
    return tuple(TokenRow.of(at, vocabulary.token(id)) for at, id in enumerate(prompt.ids[:MOST_EARLY_TOKENS]))
