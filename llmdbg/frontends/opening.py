"""How every front end starts: from a model and a prompt to a debuggee."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmdbg.debugger.limits import MOST_LEFT_PAD
from llmdbg.errors import UsageError

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.models.spec import LoadedModel, LoadProgress, ModelSpec


def check_left_pad(left_pad: int) -> None:
    """Raise UsageError for more or fewer pad tokens before a prompt than there can be."""
    if not 0 <= left_pad <= MOST_LEFT_PAD:
        raise UsageError(f"--left-pad takes a number from 0 to {MOST_LEFT_PAD}, not {left_pad}")


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

    For a process of llmdbg's own. Raises LlmdbgError. torch and transformers are imported only when this is called.
    """
    from llmdbg.models.loading import load

    debuggee = prepare_generation(load(spec, report), text, settings, chat=chat, system=system, left_pad=left_pad)
    # All that is here now stays to the end. Looking through it for garbage took 0.2 s, in the middle of some step.
    gc.freeze()
    return debuggee


def prepare_generation(
    loaded: LoadedModel, text: str, settings: GenerationSettings, *, chat: bool, system: str | None, left_pad: int = 0
) -> Debuggee:
    """Cut the prompt into its tokens and prepare their generation; nothing runs yet. Raises LlmdbgError."""
    from llmdbg.engine.generation.generation import Generation
    from llmdbg.models.anatomy import context_length
    from llmdbg.models.tokens import encode_prompt

    vocabulary_size = int(loaded.model.get_input_embeddings().weight.shape[0])
    prompt = encode_prompt(
        loaded.tokenizer,
        text,
        chat=chat,
        system=system,
        vocabulary_size=vocabulary_size,
        context_length=context_length(loaded.model),
        left_pad=left_pad,
    )
    return Generation(loaded, prompt, settings)


def opening_notes(debuggee: Debuggee) -> tuple[str, ...]:
    """What the user should know about the model and the prompt before anything runs, a sentence each."""
    return (*(debuggee.loaded.notes if debuggee.loaded is not None else ()), *debuggee.prompt.notes)
