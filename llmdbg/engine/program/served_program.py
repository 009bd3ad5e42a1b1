"""A vLLM model that a program runs, with what is asked of any model: its parts, configuration and stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdbg.engine.served_model import anatomy_of, served

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.served_model import ServedModel
    from llmdbg.models.anatomy import Anatomy


def served_by(runner: Any, model: nn.Module) -> tuple[ServedModel, Anatomy] | None:
    """The model, as its runner knows it, and its stages; None if that cannot be said of it."""
    known = getattr(runner, "model_config", None)
    if known is None:
        return None
    from transformers import GenerationConfig

    # One that embeds or classifies may still have a head, whose weights are never read.
    scores = getattr(known, "runner_type", "") != "pooling"
    try:
        found = served(model, known.hf_config, GenerationConfig.from_model_config(known.hf_config), scores=scores)
        return found, anatomy_of(found, int(known.max_model_len))
    except Exception:  # a model of its own kind, such as one without embeddings
        return None
