"""What stages of the present token's forward gave, kept for whoever asks what led to where the run stands.

Nothing is kept for nobody. Whoever asks for the first time has the token run again, up to where the run stands: at most
one forward. From then on the run keeps it as it comes by, until a whole token has passed without anyone asking.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmdbg.debugger.execution.run import Run
    from llmdbg.engine.stage_event import StageEvent


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """What to keep: `take(event)` of every event of these stages.

    `take` runs inside the forward and must not wait for the device; what it returns must own its memory or be small.
    Requests with equal `name` and `about` (the focus, say, or a layer) are one. `hears` are the attentions whose
    kernel's arguments `take` wants to find in `event.kernel_calls`.
    """

    name: str
    addresses: frozenset[str]
    take: Callable[[StageEvent], Any] = field(compare=False)
    about: Any = None
    hears: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Kept:
    """What was kept for a wish during `token`; `whole` if from that token's beginning on."""

    request: RecordRequest
    asked: int
    token: int = -1
    whole: bool = False
    found: dict[str, Any] = field(default_factory=dict)


class ActivationRecorder:
    """Keeps what was wished for, for as long as somebody asks."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def forget(self) -> None:
        """What was kept does not hold any more."""
        self._kept = {}

    def get(self, run: Run, request: RecordRequest) -> dict[str, Any]:
        """What `request.take` gave at each of its stages that has run for the present token, by address, in order.

        Runs the token again up to where the run stands, unless all of it has been kept. Raises what that raises.
        """
        kept = self._kept_for(request, run.event.token)
        if not kept.whole:
            run.record_again()
        kept.asked = run.event.token
        return dict(kept.found)

    def expect(self, run: Run, request: RecordRequest) -> None:
        """`request` is going to be asked here as well: if the token has to run again, let once be enough for both."""
        self._kept_for(request, run.event.token)

    def _kept_for(self, request: RecordRequest, token: int) -> _Kept:
        """What is kept for a wish during `token`, made anew where it is about something else."""
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

    def heard(self, token: int) -> frozenset[str]:
        """The attentions to listen to while `token` is produced."""
        return frozenset(address for kept in self._living(token) for address in kept.request.hears)

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
