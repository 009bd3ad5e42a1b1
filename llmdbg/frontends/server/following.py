"""A rank without a client: it carries out with rank 0 what that one's client asks of all, and answers nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.server.carrying_out import carry_out
from llmdbg.frontends.server.served_run import CloseRun

if TYPE_CHECKING:
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.frontends.server.requests import Request
    from llmdbg.frontends.server.served_run import ServedRun


def follow(run: ServedRun, ranks: Ranks) -> None:
    """Carry out what rank 0 is asked, until it leaves. Raises LlmdbgError where the ranks cannot go on."""
    run.find_ranks()
    while (order := ranks.told(_NOTHING)) is not None:
        if isinstance(order, CloseRun):
            run.close()
            continue
        run.begin()
        ranks.meet(carry_out(run, order, _report_nothing).failure)
    run.close()


_NOTHING: Request | CloseRun | None = None


def _report_nothing(_doing: str, _done: int, _total: int | None) -> None:
    return None
