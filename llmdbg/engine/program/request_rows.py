"""Which rows of a vLLM engine's forward are whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import PagedCache


@dataclass(frozen=True, slots=True)
class RequestRows:
    """One request's part of a forward."""

    name: str
    """vLLM's id of the request."""
    first: int
    """The first position that it runs over: how many the cache holds."""
    length: int
    """How many positions it runs over."""
    cache: PagedCache
    """Its blocks."""
    rows: slice
    """Which rows of the flattened batch are its own."""
    prompt: tuple[int, ...]
    """Its prompt's ids; empty if it was given vectors."""
    parameters: Any = None
    """Its `SamplingParams`; None if they are not known."""
    drafted: int = 0
    """How many of the positions are tokens that vLLM has only drafted, and may drop again."""
    produces: bool = True
    """Whether the forward comes to its newest token, so that the scores choose one; not in a part of a long prompt."""
