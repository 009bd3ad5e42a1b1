"""How every front end starts: from a model and a prompt to a debuggee."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.models.spec import LoadProgress, ModelSpec


def open_generation(
    spec: ModelSpec,
    text: str,
    settings: GenerationSettings,
    *,
    chat: bool,
    system: str | None,
    report: Callable[[LoadProgress], None],
    left_pad: int = 0,
) -> Debuggee:
    """Load a model, tokenize the prompt, and prepare the generation; nothing runs yet. `report` gets loading progress.

    Raises LlmdbgError. torch and transformers are imported only when this is called.
    """
    from llmdbg.engine.generation.generation import Generation
    from llmdbg.models.loading import load
    from llmdbg.models.tokens import encode_prompt

    loaded = load(spec, report)
    vocabulary_size = int(loaded.model.get_input_embeddings().weight.shape[0])
    prompt = encode_prompt(
        loaded.tokenizer, text, chat=chat, system=system, vocabulary_size=vocabulary_size, left_pad=left_pad
    )
    return Generation(loaded, prompt, settings)


def opening_notes(debuggee: Debuggee) -> tuple[str, ...]:
    """What the user should know about the model and the prompt before anything runs, a sentence each."""
    return (*(debuggee.loaded.notes if debuggee.loaded is not None else ()), *debuggee.prompt.notes)
