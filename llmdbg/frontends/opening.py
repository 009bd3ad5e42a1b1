"""What every front end begins with: the model, and the prompt as the tokens it is fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.models.spec import LoadedModel, LoadProgress, ModelSpec
    from llmdbg.models.tokens import Prompt


def opened(
    spec: ModelSpec,
    text: str,
    *,
    chat: bool,
    system: str | None,
    report: Callable[[LoadProgress], None],
    left_pad: int = 0,
) -> tuple[LoadedModel, Prompt]:
    """Load a model and cut the prompt into its tokens. Raises LlmdbgError. Imports what is heavy only when called."""
    from llmdbg.models.loading import load
    from llmdbg.models.tokens import encode_prompt

    loaded = load(spec, report)
    vocabulary_size = int(loaded.model.get_input_embeddings().weight.shape[0])
    prompt = encode_prompt(
        loaded.tokenizer, text, chat=chat, system=system, vocabulary_size=vocabulary_size, left_pad=left_pad
    )
    return loaded, prompt
