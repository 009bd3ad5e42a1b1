"""A recording beside a run of the same prompt, as far as it was kept: whole tensors, or else fingerprints."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.mapping import NAMESAKES
from llmdbg.debugger.comparison.recorded_side import RecordedSide, record_error
from llmdbg.debugger.comparison.recorded_values import RecordedValues, map_recorded
from llmdbg.debugger.comparison.references.source import Compared, Taken, error_of
from llmdbg.debugger.comparison.tensor_tree import tensors_of
from llmdbg.debugger.comparison.weights import named_weights
from llmdbg.debugger.execution.stop import ComparedBy
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import EditError, LlmdbgError
from llmdbg.models.stages import SAMPLE, Phase
from llmdbg.probes.statistics import device_name, dtype_name
from llmdbg.probes.value_statistics import ValueStatistics
from llmdbg.traces.records import KnownPositions, Positions, StageRecord
from llmdbg.traces.reductions import can_be_reduced, read, reduce
from llmdbg.traces.rows import positions_of
from llmdbg.traces.sketch import position_dimension
from llmdbg.traces.tensor_files import input_width

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.comparison.lockstep import StageValues
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.traces.reader import Trace


class RecordedReference:
    """A recording of the same prompt and tokens. `name` is what the user called it."""

    def __init__(self, trace: Trace, debuggee: Debuggee, name: str) -> None:
        self.name = name
        self.restarts = 0
        kept = trace.header.tensors in ("all", "inputs")
        self.about = "a recording" if kept else "a recording without tensors: distances are estimated"
        dtype = getattr(torch, trace.header.dtype or "float32", None)
        self.last_bit = 0.0
        if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
            self.last_bit = torch.finfo(dtype).eps / 2
        self._trace = trace
        self._debuggee = debuggee
        self._ids = RecordedSide(trace).ids
        self._token, self._passed = 0, dict[str, None]()

    def unfit(self) -> str | None:
        """Why it cannot stand beside the run, in a line; None if it can."""
        if self._trace.header.prompt.ids != self._debuggee.prompt.ids:
            return f"{self.name} is a recording of another prompt"
        return None

    def missing(self, token: int, address: str) -> str | None:
        """Why it has no value of a stage at a generated token, in a line; None if it has one, or may have one later."""
        if (why := self.unfit()) is not None:
            return why
        ids = self._debuggee.generated
        if (parted := self._parted(min(token, len(ids)))) is not None:
            return f"{self.name} is a recording of another text: it parts at token {parted}"
        if token >= len(self._trace.tokens):
            return f"{self.name} has no token {token}: the recording ends before"
        if self._tensor(token, address, 0) is not None:
            return None
        if self._trace.stage(token, address) is None:
            return f"{self.name} has no stage {address} at token {token}"
        return f"{self.name} kept no whole tensor of {address}: record it with `--tensors all`"

    def value(self, token: int, address: str, call: int) -> Tensor | None:
        """The recorded tensor of a call, on the CPU; None if there is none, or if the two texts have parted.

        Raises EditError for a damaged recording.
        """
        return None if self._parted(token) is not None else self._tensor(token, address, call)

    def compared(self, event: StageEvent) -> Compared | None:
        """How far an event is from the recorded values, or as far as their fingerprints or statistics tell.

        None where nothing is known of the stage, or the texts have parted. Raises TraceError for a damaged recording.
        """
        self._follow(event)
        if event.stage.address == SAMPLE.address or self._parted(event.token) is not None:
            return None
        if (values := self._values_at(event)) is not None:
            error = error_of(event.output, values.output)
            return None if error is None else Compared(error)
        record = self._trace.stage(event.token, event.stage.address)
        ours = None if record is None else self._record_of(event)
        found = None if record is None or ours is None else record_error(record, ours)
        if found is None:
            return None
        error, by_statistics = found
        return Compared(error, ComparedBy.STATISTICS if by_statistics else ComparedBy.FINGERPRINT)

    def taken(self, event: StageEvent) -> Taken | None:
        """What the recorded stage took and returned; None if it was not kept. Raises TraceError."""
        if self._parted(event.token) is not None or (values := self._values_at(event)) is None:
            return None
        return Taken(tensors_of((values.args, values.kwargs)), values.output)

    def close(self) -> None:
        """Do nothing: it only reads files."""

    @cached_property
    def _values(self) -> RecordedValues:
        loaded, anatomy = self._debuggee.loaded, self._debuggee.anatomy
        if loaded is None:
            return RecordedValues(self._trace, NAMESAKES)
        weights = named_weights(loaded.model, anatomy)
        widths = {address: weight.shape[0] for (address, of), weight in weights.items() if of == "weight"}
        return RecordedValues(self._trace, map_recorded(self._trace, anatomy, widths, {}))

    def _values_at(self, event: StageEvent) -> StageValues | None:
        return self._values.get(event, 0)

    def _follow(self, event: StageEvent) -> None:
        """Count how often the run has gone back."""
        address = event.stage.address
        is_here = self._token == event.token and next(reversed(self._passed), None) == address
        if event.token < self._token or (event.token == self._token and address in self._passed and not is_here):
            self.restarts += 1
            self._passed.clear()
        elif event.token != self._token:
            self._passed.clear()
        self._token = event.token
        self._passed[address] = None

    def _record_of(self, event: StageEvent) -> StageRecord | None:
        """What would be recorded of an event. Waits for the device."""
        tensor = main_tensor(event.output)
        if tensor is None or not can_be_reduced(tensor):
            return None
        whole = event.phase is Phase.PREFILL and not event.trail
        shape = tuple(tensor.shape)
        length = len(self._debuggee.prompt.ids) if whole else 1
        dimension = position_dimension(shape, length)
        positions = positions_of(shape, dimension, complex=tensor.is_complex())
        found = read(reduce([tensor.detach()], dimension).cpu().numpy(), 1, positions)
        low, high, mean, std, norm = (float(each) for each in found.statistics[0])
        return StageRecord(
            token=event.token,
            address=event.stage.address,
            phase=event.phase,
            shape=shape,
            dtype=dtype_name(tensor.dtype),
            device=device_name(tensor.device),
            statistics=ValueStatistics(low, high, mean, std, norm, int(found.nan[0]), int(found.inf[0])),
            hash=int(found.hashes[0]),
            positions=positions,
            by_position=dimension is not None,
            input_width=input_width(event.args, event.kwargs, length),
            source=KnownPositions(Positions(found.position_hashes, found.sketch)),
        )

    def _parted(self, token: int) -> int | None:
        """The first token before `token` that is another one here; None if there is none."""
        pairs = zip(self._ids[:token], self._debuggee.generated[:token], strict=False)
        return next((at for at, (one, other) in enumerate(pairs) if one != other), None)

    def _tensor(self, token: int, address: str, call: int) -> Tensor | None:
        try:
            return self._trace.tensor(token, address, call=call)
        except LlmdbgError as error:
            raise EditError(f"{self.name} cannot be read: {error}") from error
