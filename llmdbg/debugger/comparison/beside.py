"""Another run beside this one, suspended at the same stage: the reference that its values are held against."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.judge import TIMES_ARITHMETIC_FLOOR
from llmdbg.debugger.comparison.references.following import last_bit
from llmdbg.debugger.comparison.references.source import error_of
from llmdbg.debugger.comparison.tensor_tree import is_plain, tensors_of, with_tensors
from llmdbg.debugger.execution.stop import BesideReference
from llmdbg.engine.lockstep import forward_of
from llmdbg.errors import EditError, LlmdbgError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from llmdbg.debugger.comparison.references.source import Compared, ReferenceSource, Taken
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent


class ReferenceRun:
    """A reference beside `debuggee`, whose values come from `source`. It belongs to the debuggee's thread.

    What fails there fails alone: `lost` says why from then on, and nothing is compared any more.
    """

    def __init__(self, source: ReferenceSource, debuggee: Debuggee) -> None:
        self.name = source.name
        self.source = source
        self.lost = ""
        """Why nothing can be compared any more, in a line; empty if it can."""
        self._debuggee = debuggee
        self._restarts = source.restarts
        self._forget()
        self._floor = max(last_bit(debuggee), source.last_bit)

    @property
    def called(self) -> str:
        """Its name, with what it is and why it is lost."""
        notes = "; ".join(each for each in (self.source.about, self.lost) if each)
        return f"{self.name} ({notes})" if notes else self.name

    def unfit(self) -> str | None:
        """Why it cannot stand beside the run, in a line; None if it can."""
        return self.lost or self.source.unfit()

    def missing(self, token: int, address: str) -> str | None:
        """Why it has no value of a stage, in a line; None if it may have one."""
        return self.lost or self.source.missing(token, address)

    def value(self, token: int, address: str, call: int) -> Tensor | None:
        """The main tensor that the `call`-th call of a stage returns; None where it has no such stage or call.

        Raises EditError if the reference fails on its way there.
        """
        if self.lost:
            raise EditError(self.lost)
        try:
            return self.source.value(token, address, call)
        except LlmdbgError as error:
            self._lose(error)
            raise EditError(f"{self.name} fails before {address} of token {token}: {error}") from error

    def apart(self, event: StageEvent) -> float | None:
        """How far the event's values are from the reference's, relative to their norm; None if they cannot be compared.

        Waits for the device.
        """
        return self.measured(event)[0]

    def distances(self, token: int) -> Mapping[str, float]:
        """How far each stage is that has been compared while `token` was produced, in the order they ran."""
        return self._distances if self._at[0] == token else {}

    def measured(self, event: StageEvent) -> tuple[float | None, bool]:
        """How far they are, and whether that is more than rounding, and than any stage that was compared before it.

        Waits for the device.
        """
        found = self._compared_with(event)
        if found is None:
            return None, False
        error = found.error
        beyond = error.relative > TIMES_ARITHMETIC_FLOOR * max(self._floor, self._largest)
        return error.relative, error.newly_nonfinite > 0 or beyond

    def beside(self, event: StageEvent) -> BesideReference | None:
        """How a stop compares with the reference. Runs the stage once more, on the reference's input, where it can."""
        found = self._compared_with(event)
        if self.lost:
            return BesideReference(self.name, None, None, equal=False, lost=self.lost)
        if found is None:
            return None
        error = found.error
        alone = self._isolated(event)
        return BesideReference(self.name, error.relative, alone, equal=error.equal, by=found.by)

    def close(self) -> None:
        """End the reference's run."""
        self.source.close()

    def _forget(self) -> None:
        """Hold the next stage against none before it: the run has gone back."""
        self._at, self._newest, self._largest = (-1, ""), 0.0, 0.0
        self._distances: dict[str, float] = {}

    def _lose(self, error: LlmdbgError) -> None:
        self.lost = str(error)
        self.source.close()

    def _compared_with(self, event: StageEvent) -> Compared | None:
        if self.lost:
            return None
        try:
            found = self.source.compared(event)
        except LlmdbgError as error:
            self._lose(error)
            return None
        if self.source.restarts != self._restarts:
            self._restarts = self.source.restarts
            self._forget()
        if found is None:
            return None
        where = (event.token, event.stage.address)
        if self._at[0] != event.token:
            self._distances = {}
        if self._at != where:
            self._at, self._largest = where, max(self._largest, self._newest)
        self._distances[event.stage.address] = found.error.relative
        self._newest = found.error.relative if isfinite(found.error.relative) else 0.0
        return found

    def _isolated(self, event: StageEvent) -> float | None:
        """The stage's error on the reference's input; None for one that reads the KV cache, or is no module's."""
        is_module = event.stage.address in self._debuggee.anatomy.modules
        if not is_module or not (is_plain(event.args) and is_plain(event.kwargs)):
            return None
        if (theirs := self._taken(event)) is None:
            return None
        given, expected = tensors_of((event.args, event.kwargs)), theirs.inputs
        if given.keys() != expected.keys() or any(given[each].shape != expected[each].shape for each in given):
            return None

        def on_the_reference(path: str, tensor: Tensor) -> Tensor:
            return expected[path].detach().to(tensor.device, tensor.dtype, copy=True)

        args, kwargs = with_tensors((event.args, event.kwargs), on_the_reference)
        with torch.no_grad():
            output = forward_of(self._debuggee, event.stage.address)(*args, **kwargs)
        error = error_of(output, theirs.output)
        return None if error is None else error.relative

    def _taken(self, event: StageEvent) -> Taken | None:
        try:
            return self.source.taken(event)
        except LlmdbgError as error:
            self._lose(error)
            return None
