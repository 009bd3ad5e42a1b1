"""What `info TOPIC` answers, topic by topic: frozen values that front ends write as text or JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdbg.engine.settings import describe_sampling

if TYPE_CHECKING:
    from llmdbg.debugger.session import Session


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that runs. `bytes` is what its parameters take; `context` is in tokens, None where it has no limit."""

    name: str
    architecture: str
    parameters: int
    bytes: int
    layers: int
    dtype: str
    device: str
    attention: str
    context: int | None
    vocabulary: int
    sampling: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenTable:
    """The sequence so far, and where the tokenizer disagrees with itself about the prompt."""

    rows: tuple[Any, ...]
    notes: tuple[str, ...]


def model_info(session: Session) -> ModelInfo:
    """Describe the model and how it samples."""
    from llmdbg.probes.statistics import dtype_name

    model, config = session.loaded.model, session.engine.config
    parameters = list(model.parameters())
    embeddings = model.get_input_embeddings()
    return ModelInfo(
        name=session.loaded.name,
        architecture=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in parameters),
        bytes=sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        layers=len(session.anatomy.layers()),
        dtype=dtype_name(model.dtype),
        device=str(model.device),
        attention=session.loaded.attn,
        context=session.anatomy.context_length,
        vocabulary=int(embeddings.weight.shape[0]),
        sampling="" if config is None else describe_sampling(config),
        notes=(*session.loaded.notes, *session.engine.notes),
    )


def _tokens(session: Session) -> TokenTable:
    return TokenTable(session.tokens(), session.prompt.notes)


def _effect(session: Session) -> Any:
    from llmdbg.debugger.editing import effect

    return effect(session)


TOPICS: dict[str, Callable[[Session], Any]] = {
    "tokens": _tokens,
    "stage": lambda session: session.stop,
    "stats": lambda session: session.stop.tensor,
    "candidates": lambda session: session.stop.candidates or "no candidates here: they begin at `logits`",
    "breakpoints": lambda session: session.breakpoints.list(),
    "branches": lambda session: session.branch_rows(),
    "edits": lambda session: session.edits.list(),
    "effect": _effect,
    "model": model_info,
}
