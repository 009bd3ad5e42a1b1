"""Another run beside this one, suspended at the same stage: the reference that its values are held against.

The reference follows: wherever this run is asked about, it runs to the same stage of the same token, with this run's
tokens forced. It is behind or at the same place, never ahead; where this run goes back, it starts the token again.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.debugger.comparison.grafting import paired
from llmdbg.debugger.comparison.judge import TIMES_ARITHMETIC_FLOOR
from llmdbg.debugger.comparison.lockstep import watched_addresses
from llmdbg.debugger.comparison.stage_errors import ErrorTable
from llmdbg.debugger.comparison.tensor_tree import is_plain, tensors_of, with_tensors
from llmdbg.debugger.execution.stop import BesideReference
from llmdbg.engine.random_streams import RandomStreams
from llmdbg.engine.stage_event import main_tensor
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.errors import EditError, LlmdbgError
from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from llmdbg.debugger.comparison.stage_errors import StageError
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent


class ReferenceRun:
    """A reference beside `debuggee`, which reads the same prompt. `name` is what the user called it.

    It belongs to the debuggee's thread.
    """

    def __init__(self, reference: Debuggee, debuggee: Debuggee, name: str) -> None:
        self.name = name
        self.reference = reference
        self._debuggee = debuggee
        self._events: Generator[StageEvent, None, None] | None = None
        self._here: StageEvent | None = None
        self._target: tuple[int, str, int] = (0, "", 0)
        self._standing: tuple[int, str, int] | None = None
        self._text: tuple[int, ...] = ()
        self._token, self._passed = 0, dict[str, int]()
        self._forget()
        self._floor = _last_bit(reference, debuggee)
        devices = [] if reference.loaded is None else [each.device for each in reference.loaded.model.parameters()]
        self._streams = RandomStreams(set(devices))

    def at(self, event: StageEvent) -> StageEvent | None:
        """The reference's event at the stage of `event`, with its live values; None where it has no such stage.

        Raises LlmdbgError if the reference fails on its way there.
        """
        return self._there(event.token, event.stage.address)

    def missing(self, token: int, address: str) -> str | None:
        """Why it has no value of a stage, in a line; None if it may have one."""
        return None if self._has(address) else f"{self.name} has no stage {address}"

    def value(self, token: int, address: str, call: int) -> Tensor | None:
        """The main tensor that the `call`-th call of a stage returns; None where it has no such stage or call.

        Raises EditError if the reference fails on its way there.
        """
        try:
            there = self._there(token, address, call)
        except LlmdbgError as error:
            self.close()
            raise EditError(f"{self.name} fails before {address} of token {token}: {error}") from error
        return None if there is None else main_tensor(there.output)

    def apart(self, event: StageEvent) -> float | None:
        """How far the event's values are from the reference's, relative to their norm; None if they cannot be compared.

        Waits for the device.
        """
        error = self._error(event)
        return None if error is None else error.relative

    def diverges(self, event: StageEvent) -> bool:
        """Whether an event is further off than rounding, and than any stage that was compared before it."""
        error = self._error(event)
        if error is None:
            return False
        return error.newly_nonfinite > 0 or error.relative > TIMES_ARITHMETIC_FLOOR * max(self._floor, self._largest)

    def beside(self, event: StageEvent) -> BesideReference | None:
        """How a stop compares with the reference. Runs the stage once more, on the reference's input, where it can."""
        error, theirs = self._error(event), self.at(event)
        if error is None or theirs is None:
            return None
        return BesideReference(self.name, error.relative, self._isolated(event, theirs), error.equal)

    def close(self) -> None:
        """End the reference's run."""
        if self._events is not None:
            self._events.close()
        self._events, self._here = None, None

    def _forget(self) -> None:
        """Hold the next stage against none before it: the run has gone back."""
        self._compared, self._newest, self._largest = (-1, ""), 0.0, 0.0

    def _there(self, token: int, address: str, call: int = 0) -> StageEvent | None:
        # The reference's choice of a token is forced, and says nothing.
        if address == SAMPLE.address or not self._has(address):
            return None
        self._target = (token, address, call)
        # Both may have been here before, after another text.
        is_here = self._standing == self._target and self._text == self._debuggee.generated[:token]
        if self._here is None or not is_here:
            # What it draws must not be missing from this run's own random streams.
            drawn = self._streams.states()
            try:
                self._run_there()
            finally:
                self._streams.restore(drawn)
        return self._here if self._standing == self._target else None

    def _has(self, address: str) -> bool:
        return address in self._addresses()

    def _addresses(self) -> frozenset[str]:
        processors = [stage.address for stage in self.reference.processors]
        return watched_addresses(self.reference.anatomy, processors) | {SAMPLE.address}

    def _run_there(self) -> None:
        ids = self._debuggee.generated
        self._begin_at(*self._target, ids)
        assert self._events is not None
        timeline = self.reference.timeline
        timeline.overrides = {at: TokenOverrides(force=id) for at, id in enumerate(ids)}
        self.reference.stops.arm(self._addresses(), self._is_there)
        self._here = here = next(self._events, None)
        self._standing = None
        if here is not None:
            address = here.stage.address
            self._standing, self._text = (here.token, address, self._passed.get(address, 1) - 1), ids[: here.token]

    def _begin_at(self, token: int, address: str, call: int, ids: tuple[int, ...]) -> None:
        """Start again where the reference is past the target, or has followed another text."""
        known = self.reference.timeline.ids
        upto = min(token, len(known))
        other = next((at for at in range(upto) if known[at] != ids[at]), None)
        is_past = token < self._token or (token == self._token and self._passed.get(address, 0) > call)
        if self._events is not None and other is None and not is_past:
            return
        self.close()
        self._forget()
        start = min(token, len(known)) if other is None else other
        if known:
            self.reference.timeline = self.reference.timeline.fork(start)
        self._events = self.reference.events(start)
        self._token, self._passed = start, {}
        if start == 0:
            next(self._events)

    def _is_there(self, event: StageEvent) -> bool:
        if event.token != self._token:
            self._token, self._passed = event.token, {}
        passed = self._passed[event.stage.address] = self._passed.get(event.stage.address, 0) + 1
        token, address, call = self._target
        # A stage that this forward does not run is not waited for beyond its token.
        beyond = event.token == token and event.stage.address == SAMPLE.address
        return (event.token, event.stage.address, passed - 1) == (token, address, call) or beyond

    def _error(self, event: StageEvent) -> StageError | None:
        theirs = self.at(event)
        if theirs is None:
            return None
        where = (event.token, event.stage.address)
        table = ErrorTable()
        padding = self._debuggee.prompt.padding - self.reference.prompt.padding
        table.add(where, paired(event.output, theirs.output, padding))
        error = table.at(*where)
        if error is None:
            return None
        if self._compared != where:
            self._compared, self._largest = where, max(self._largest, self._newest)
        self._newest = error.relative if isfinite(error.relative) else 0.0
        return error

    def _isolated(self, event: StageEvent, theirs: StageEvent) -> float | None:
        """The stage's error on the reference's input; None for one that reads the KV cache, or is no module's."""
        module = self._debuggee.anatomy.modules.get(event.stage.address)
        if module is None or not (is_plain(event.args) and is_plain(event.kwargs)):
            return None
        given, expected = tensors_of((event.args, event.kwargs)), tensors_of((theirs.args, theirs.kwargs))
        if given.keys() != expected.keys() or any(given[each].shape != expected[each].shape for each in given):
            return None

        def on_the_reference(path: str, tensor: Tensor) -> Tensor:
            return expected[path].detach().to(tensor.device, tensor.dtype, copy=True)

        args, kwargs = with_tensors((event.args, event.kwargs), on_the_reference)
        with torch.no_grad():
            output: Any = module.forward(*args, **kwargs)
        table = ErrorTable()
        table.add((0, ""), paired(output, theirs.output, 0))
        error = table.at(0, "")
        return None if error is None else error.relative


def _last_bit(*debuggees: Debuggee) -> float:
    models = [each.loaded.model for each in debuggees if each.loaded is not None]
    dtypes = {each.dtype for model in models for each in model.parameters() if each.is_floating_point()}
    return max((torch.finfo(each).eps / 2 for each in dtypes), default=0.0)
