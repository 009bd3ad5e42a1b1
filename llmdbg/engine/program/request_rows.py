"""Which rows of a vLLM engine's forward are whose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmdbg.engine.debuggee import RequestBlocks

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import PagedCache

_NO_BLOCK = 0
"""What vLLM puts in the place of a block that it has taken back, behind a sliding window."""


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


def cache_of(requests: Sequence[RequestRows], lane: int | None) -> PagedCache | None:
    """The blocks of one of the requests of a forward, or of each of them; None if there is none."""
    if not requests:
        return None
    owners = Counter(block for each in requests for block in {*each.cache.blocks})
    shared = {block for block, count in owners.items() if count > 1 and block != _NO_BLOCK}
    if lane is not None:
        cache = requests[lane].cache
        return replace(cache, shared=tuple(each for each in cache.blocks if each in shared))
    held = tuple(RequestBlocks(each.first + each.length, each.cache.blocks) for each in requests)
    return replace(requests[0].cache, blocks=(), shared=tuple(sorted(shared)), requests=held)
