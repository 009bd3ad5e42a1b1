"""A user's own program: a session without a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdbg.debugger.execution.session import Session
from llmdbg.engine.generation.settings import GenerationSettings
from llmdbg.frontends.export import export
from llmdbg.frontends.opening import opened
from llmdbg.models.spec import ModelSpec

if TYPE_CHECKING:
    from llmdbg.models.spec import LoadProgress


def open_session(
    model: str | None,
    prompt: str,
    *,
    chat: bool = False,
    system: str | None = None,
    left_pad: int = 0,
    spec: dict[str, Any] | None = None,
    **settings: Any,
) -> Session:
    """Load a model and stand at the first stage of a generation.

    `model` is what the program takes (a Hub name, a folder, a `.gguf` file, `smollm2`), `left_pad` how many masked pad
    tokens stand before the prompt, as in a batch with a longer one, `spec` more of how to load it
    (`dtype`, `device`, `attn`, …), and the rest are `GenerationSettings`. Raises LlmdbgError.
    """
    loaded, ids = opened(
        ModelSpec(model, **(spec or {})), prompt, chat=chat, system=system, report=_nobody, left_pad=left_pad
    )
    session = Session(loaded, ids, GenerationSettings(**settings))
    session.exporter = export
    return session


def _nobody(_progress: LoadProgress) -> None:
    """Nobody watches it load."""
