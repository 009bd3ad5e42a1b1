"""`info kv` of an engine's cache in blocks, whose keys and values are not read: which blocks are whose."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from llmdbg.formatting import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.engine.debuggee import PagedCache

_MOST_LANES = 12
_UNREAD = "They lie there as its kernels want them, and are not read"


def held_in_blocks(cache: PagedCache, positions: int) -> str:
    """What a request has of a cache in blocks after a forward that ends at so many positions, or each of several."""
    sized = f"of {cache.block_size:,} positions each"
    if cache.requests:
        lanes = [
            f"lane {at} positions 0 to {each.positions - 1} in {_runs(each.blocks)}"
            for at, each in enumerate(cache.requests[:_MOST_LANES])
        ]
        more = len(cache.requests) - len(lanes)
        rest = f"; {counted(more, 'more lane')}: `lane {_MOST_LANES}` shows one" if more else ""
        shared = f"; {_runs(cache.shared)} shared" if cache.shared else ""
        return (
            f"{cache.owner} keeps the keys and values of these {len(cache.requests)} requests in blocks {sized} "
            f"(of {cache.total:,}): {'; '.join(lanes)}{rest}{shared}. {_UNREAD}"
        )
    if not cache.blocks:
        return f"{cache.owner} keeps no keys and values of this request now: it takes its blocks back at its end"
    shared = f", {_runs(cache.shared)} shared with other requests" if cache.shared else ""
    return (
        f"{cache.owner} keeps the keys and values of positions 0 to {positions - 1} in "
        f"{counted(len(cache.blocks), 'block')} {sized}: {_runs(cache.blocks)} (of {cache.total:,}){shared}. {_UNREAD}"
    )


def _runs(blocks: Iterable[int]) -> str:
    """`1 to 4, 9`: blocks that follow one another, as the first and the last."""
    runs = [[block for _, block in run] for _, run in groupby(enumerate(blocks), lambda each: each[1] - each[0])]
    words = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(words) or "none"
