"""Keeps parts of the activations of the present token, for questions about stages that have already run.

Nothing is kept unless somebody asks. The first question about a token runs it again up to where the run stands: at most
one forward. From then on the run keeps what was asked for as it goes by, until a whole token passes without a question.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmdbg.engine.stage_event import StageEvent


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """What to keep: `take(event)` of every event of these stages.

    `take` runs inside the forward and must not wait for the device; what it returns must own its memory or be small.
    Requests with equal `name` and `about` (the focus, say, or a layer) are one. `captures` are the attentions whose
    kernel's arguments `take` wants to find in `event.kernel_calls`.
    """

    name: str
    addresses: frozenset[str]
    take: Callable[[StageEvent], Any] = field(compare=False)
    about: Any = None
    captures: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Kept:
    """What was kept for a request during `token`; `whole` if from that token's beginning on."""

    request: RecordRequest
    asked: int
    token: int = -1
    whole: bool = False
    found: dict[str, Any] = field(default_factory=dict)


class ActivationRecorder:
    """Keeps what was requested, for as long as somebody goes on asking."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def forget(self) -> None:
        """Drop everything that was kept and requested."""
        self._kept = {}

    def expect(self, request: RecordRequest, token: int) -> bool:
        """`request` is asked about `token`: keep it from now on. Returns whether all of it has been kept already.

        Two requests that are expected before the token runs again need only one run.
        """
        kept = self._kept_for(request, token)
        kept.asked = token
        return kept.whole

    def found(self, request: RecordRequest, token: int) -> dict[str, Any]:
        """What was kept for a request during `token`, by address, in the order the stages ran."""
        kept = self._kept.get(request.name)
        return dict(kept.found) if kept is not None and kept.request == request and kept.token == token else {}

    def _kept_for(self, request: RecordRequest, token: int) -> _Kept:
        """What is kept for a request during `token`, begun again where it is about something else."""
        kept = self._kept.get(request.name)
        if kept is None or kept.request != request or kept.token != token or not kept.whole:
            kept = self._kept[request.name] = _Kept(request, token)
        return kept

    def restart(self, token: int) -> None:
        """`token` is run again from its beginning."""
        for kept in self._kept.values():
            kept.token, kept.whole, kept.found = token, kept in self._living(token), {}

    def addresses(self, token: int) -> frozenset[str]:
        """The stages to watch while `token` is produced."""
        return frozenset(address for kept in self._living(token) for address in kept.request.addresses)

    def captured(self, token: int) -> frozenset[str]:
        """The attentions whose kernels' arguments are wanted while `token` is produced."""
        return frozenset(address for kept in self._living(token) for address in kept.request.captures)

    def passed(self, event: StageEvent) -> None:
        """A stage has run. Called inside the forward."""
        for kept in self._living(event.token):
            if kept.token != event.token:
                # Watched since an earlier token, so from this one's first stage on.
                kept.token, kept.whole, kept.found = event.token, True, {}
            if event.stage.address in kept.request.addresses:
                kept.found[event.stage.address] = kept.request.take(event)

    def _living(self, token: int) -> list[_Kept]:
        return [kept for kept in self._kept.values() if abs(token - kept.asked) <= 1]
