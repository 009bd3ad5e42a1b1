"""A run that follows another: wherever that is asked about, it runs to the same stage of the same token.

It is behind or at the same place, never ahead; where the other has gone back, it starts the token again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.lockstep import watched_addresses
from llmdbg.debugger.comparison.references.source import Compared, Taken, error_of
from llmdbg.debugger.comparison.tensor_tree import tensors_of
from llmdbg.engine.random_streams import RandomStreams
from llmdbg.engine.stage_event import main_tensor
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from torch import Tensor

    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent


class FollowingRun:
    """`reference`, a run of the same prompt in this process, with the tokens that `ids` returns forced.

    `on_stage` is called at every stage that it passes. It belongs to the thread that asks it.
    """

    about = ""

    def __init__(
        self,
        reference: Debuggee,
        ids: Callable[[], tuple[int, ...]],
        name: str,
        *,
        padding: int = 0,
        on_stage: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self.reference = reference
        self.restarts = 0
        self.last_bit = last_bit(reference)
        self._ids = ids
        self._padding = padding
        self._on_stage = on_stage
        self._events: Generator[StageEvent, None, None] | None = None
        self._here: StageEvent | None = None
        self._target: tuple[int, str, int] = (0, "", 0)
        self._standing: tuple[int, str, int] | None = None
        self._text: tuple[int, ...] = ()
        self._watched: frozenset[str] | None = None
        self._token, self._passed = 0, dict[str, int]()
        devices = [] if reference.loaded is None else [each.device for each in reference.loaded.model.parameters()]
        self._streams = RandomStreams(set(devices))

    def begin(self) -> None:
        """Run to the prompt, so that the logits processors are known. Raises LlmdbgError."""
        self._begin_at(0, "", 0, ())

    def at(self, token: int, address: str, call: int = 0) -> StageEvent | None:
        """The event of the `call`-th call of a stage, with its live values; None where there is no such stage or call.

        Raises LlmdbgError if the run fails on its way there.
        """
        # Its choice of a token is forced, and says nothing.
        if address == SAMPLE.address or address not in self.addresses():
            return None
        self._target = (token, address, call)
        # Both may have been here before, after another text.
        is_here = self._standing == self._target and self._text == self._ids()[:token]
        if self._here is None or not is_here:
            # What it draws must not be missing from the other run's own random streams.
            drawn = self._streams.states()
            try:
                self._run_there()
            finally:
                self._streams.restore(drawn)
        return self._here if self._standing == self._target else None

    def addresses(self) -> frozenset[str]:
        """The stages that it may have values of. Logits processors are known from its beginning on."""
        return self._all_addresses() if self._watched is None else self._watched

    def _all_addresses(self) -> frozenset[str]:
        processors = [stage.address for stage in self.reference.processors]
        return watched_addresses(self.reference.anatomy, processors) | {SAMPLE.address}

    def unfit(self) -> str | None:
        """None: whatever it is, stages with the same address can be compared."""
        return None

    def missing(self, _token: int, address: str) -> str | None:
        """Why it has no value of a stage, in a line; None if it may have one."""
        return None if address in self.addresses() else f"{self.name} has no stage {address}"

    def compared(self, event: StageEvent) -> Compared | None:
        """How far an event is from the reference's; None where it has no such stage. Raises LlmdbgError if it fails."""
        theirs = self.at(event.token, event.stage.address)
        error = None if theirs is None else error_of(event.output, theirs.output, self._padding)
        return None if error is None else Compared(error)

    def taken(self, event: StageEvent) -> Taken | None:
        """What the reference's stage took and returned; None where it has no such stage. Raises LlmdbgError."""
        theirs = self.at(event.token, event.stage.address)
        return None if theirs is None else Taken(tensors_of((theirs.args, theirs.kwargs)), theirs.output)

    def value(self, token: int, address: str, call: int) -> Tensor | None:
        """The main tensor that a call returns; None where it has no such stage or call. Raises LlmdbgError."""
        there = self.at(token, address, call)
        return None if there is None else main_tensor(there.output)

    def close(self) -> None:
        """End the run. It begins again when it is asked."""
        if self._events is not None:
            self._events.close()
        self._events, self._here, self._watched = None, None, None

    def _run_there(self) -> None:
        ids = self._ids()
        self._begin_at(*self._target, ids)
        assert self._events is not None
        timeline = self.reference.timeline
        timeline.overrides = {at: TokenOverrides(force=id) for at, id in enumerate(ids)}
        if self._watched is None:
            self._watched = self._all_addresses()
            self.reference.stops.arm(self._watched, self._is_there)
        self._here = here = next(self._events, None)
        self._standing = None
        if here is not None:
            address = here.stage.address
            self._standing, self._text = (here.token, address, self._passed.get(address, 1) - 1), ids[: here.token]

    def _begin_at(self, token: int, address: str, call: int, ids: tuple[int, ...]) -> None:
        """Start again where the run is past the target, or has followed another text."""
        known = self.reference.timeline.ids
        upto = min(token, len(known))
        other = next((at for at in range(upto) if known[at] != ids[at]), None)
        is_past = token < self._token or (token == self._token and self._passed.get(address, 0) > call)
        if self._events is not None and other is None and not is_past:
            return
        self.close()
        self.restarts += 1
        start = min(token, len(known)) if other is None else other
        if known:
            self.reference.timeline = self.reference.timeline.fork(start)
        self._events = self.reference.events(start)
        self._token, self._passed = start, {}
        if start == 0:
            next(self._events)

    def _is_there(self, event: StageEvent) -> bool:
        self._on_stage()
        if event.token != self._token:
            self._token, self._passed = event.token, {}
        passed = self._passed[event.stage.address] = self._passed.get(event.stage.address, 0) + 1
        token, address, call = self._target
        # A stage that this forward does not run is not waited for beyond its token.
        beyond = event.token == token and event.stage.address == SAMPLE.address
        return (event.token, event.stage.address, passed - 1) == (token, address, call) or beyond


def last_bit(debuggee: Debuggee) -> float:
    """What rounding changes at most in a value of a live model's dtypes, relative; 0 without a live model."""
    if debuggee.loaded is None:
        return 0.0
    dtypes = {each.dtype for each in debuggee.loaded.model.parameters() if each.is_floating_point()}
    return max((torch.finfo(each).eps / 2 for each in dtypes), default=0.0)
