"""Records parts of the current token's activations, for questions about stages that have already run.

Nothing is recorded until a question asks for it. The first question about a token reruns it up to the current stop: at
most one forward. After that the run records in passing, until a whole token goes by without a question.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmdbg.engine.stage_event import StageEvent


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """What to record: `take(event)` at every event of some stages."""

    name: str
    """Identifies the question; a later request of the same name replaces one about something else."""
    addresses: frozenset[str]
    """The stages to record."""
    take: Callable[[StageEvent], Any] = field(compare=False)
    """Runs inside the forward and must not wait for the device; what it returns must own its memory or be small."""
    about: Any = None
    """What else the answer depends on, such as the focus or a layer."""
    captures: frozenset[str] = frozenset()
    """The attentions whose kernel arguments `take` reads from `event.kernel_calls`."""


@dataclass(slots=True)
class _Kept:
    """What has been recorded for a request."""

    request: RecordRequest
    asked: int
    """The generated token of the latest question."""
    standing: bool = False
    """Whether the question will be asked again wherever the run stops next."""
    token: int = -1
    """The generated token that `found` is about; -1 before the first."""
    whole: bool = False
    """Whether recording started at that token's first stage."""
    found: dict[str, Any] = field(default_factory=dict)
    """What `take` returned, by address, in the order the stages ran."""


class ActivationRecorder:
    """Records what was requested, for as long as questions keep coming."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def forget(self) -> None:
        """Drop everything recorded and requested."""
        self._kept = {}

    def expect(self, request: RecordRequest, token: int, *, standing: bool = False) -> bool:
        """Record `request` from now on, for a question about `token`. Returns whether it is already complete.

        With `standing`, through the whole next command, however many tokens that runs. Requests that are expected
        before the token reruns share one run.
        """
        kept = self._kept_for(request, token)
        kept.asked = token
        kept.standing = kept.standing or standing
        return kept.whole

    def stopped(self) -> None:
        """The run has stopped: who wants a record through the next command too must ask again."""
        for kept in self._kept.values():
            kept.standing = False

    def found(self, request: RecordRequest, token: int) -> dict[str, Any]:
        """What was recorded for a request at `token`, by address, in the order the stages ran."""
        kept = self._kept.get(request.name)
        return dict(kept.found) if kept is not None and kept.request == request and kept.token == token else {}

    def _kept_for(self, request: RecordRequest, token: int) -> _Kept:
        """The record of a request at `token`, replaced by an empty one if it is about something else."""
        kept = self._kept.get(request.name)
        if kept is None or kept.request != request or kept.token != token:
            kept = self._kept[request.name] = _Kept(request, token, kept is not None and kept.standing)
        return kept

    def begin_at(self, request: RecordRequest, event: StageEvent) -> None:
        """Record a request in the middle of a token, which cannot be rerun: from the current event on."""
        kept = self._kept_for(request, event.token)
        kept.token = event.token
        if not request.captures and event.stage.address in request.addresses:
            kept.found[event.stage.address] = request.take(event)

    def restart(self, token: int) -> None:
        """Start over: `token` reruns from its first stage."""
        for kept in self._kept.values():
            kept.token, kept.whole, kept.found = token, kept in self._active(token), {}

    def addresses(self, token: int) -> frozenset[str]:
        """The stages to record while `token` is produced."""
        return frozenset(address for kept in self._active(token) for address in kept.request.addresses)

    def captured(self, token: int) -> frozenset[str]:
        """The attentions whose kernel arguments are needed while `token` is produced."""
        return frozenset(address for kept in self._active(token) for address in kept.request.captures)

    def passed(self, event: StageEvent) -> None:
        """Record a stage that has run. Called inside the forward."""
        for kept in self._active(event.token):
            if kept.token != event.token:
                # Recording since an earlier token, so from this one's first stage on.
                kept.token, kept.whole, kept.found = event.token, True, {}
            if event.stage.address in kept.request.addresses:
                kept.found[event.stage.address] = kept.request.take(event)

    def _active(self, token: int) -> list[_Kept]:
        return [kept for kept in self._kept.values() if kept.standing or abs(token - kept.asked) <= 1]
