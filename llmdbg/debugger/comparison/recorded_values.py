"""The whole tensors of a recording, as the stages of a live run would take and return them.

Another program may lay them out in another way, which is read off their shapes and values: no batch dimension, a
projection of queries, keys and values in one, or a layer that returns what it adds and the residual stream apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdbg.debugger.comparison.lockstep import StageValues
from llmdbg.debugger.comparison.mapping import Source, StageMap
from llmdbg.debugger.comparison.tensor_tree import tensors_of, with_tensors
from llmdbg.engine.stage_event import main_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.traces.reader import Trace


class RecordedValues:
    """What a recording kept of each stage of a live run, token by token."""

    def __init__(self, trace: Trace, stage_map: StageMap) -> None:
        self._trace = trace
        self._map = stage_map
        self._sums: dict[str, bool] = {}

    def get(self, event: StageEvent, call: int) -> StageValues | None:
        """The recorded values of an event's stage, in its layout; None if they were not kept or do not fit."""
        address = event.stage.address
        names = self._map.names(address)
        if len(names) == 1 and self._is_another_function(event, names[0], call):
            return None
        outputs = [self._output(event, name, call) for name in names]
        if any(each is None for each in outputs):
            return None
        output = self._map.output(address, outputs)
        if output is None:
            return None
        args, kwargs = self._inputs(event, names[0], call)
        return StageValues(output, args, kwargs)

    def _output(self, event: StageEvent, name: str, call: int) -> Any:
        found = {
            each.removeprefix("output").removeprefix("."): tensor
            for each in self._trace.tensor_names(event.token, name, call)
            if each.partition(".")[0] == "output"
            and (tensor := self._trace.tensor(event.token, name, each, call)) is not None
        }
        if not found:
            return None
        ours = main_tensor(event.output)
        if ours is None:
            return None
        found = {path: with_batch(tensor, ours) for path, tensor in found.items()}
        first, *others = found.values()
        expected = tensors_of(event.output)
        if found.keys().isdisjoint(expected):
            # One returns its tensor alone, and the other in a tuple with nothing else that counts.
            found = {next(iter(expected)): first}
        if len(expected) == 1 and others and others[0].shape == first.shape == ours.shape:
            return first + others[0] if self._is_a_sum(event, first, others[0], ours) else first
        return found.get("", found)

    def _is_a_sum(self, event: StageEvent, first: Tensor, second: Tensor, ours: Tensor) -> bool:
        """Whether what is one value here was recorded as two that add up, as vLLM's layers return."""
        address = event.stage.address
        if address not in self._sums:
            expected = ours.detach().double().cpu()
            apart = (first.double() - expected).norm(), (first.double() + second.double() - expected).norm()
            self._sums[address] = bool(apart[1] < apart[0])
        return self._sums[address]

    def _inputs(self, event: StageEvent, name: str, call: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The recorded arguments in place of the event's; none where it took others, or their tensors were not kept.

        A norm of vLLM takes what was added and the residual stream apart, and adds them up itself.
        """
        kept = self._kept_inputs(event, name, call)
        expected = tensors_of((event.args, event.kwargs))
        recorded = {}
        for path, ours in expected.items():
            _, _, inner = path.partition(".")
            if inner in kept and (found := self._trace.tensor(event.token, name, f"input.{inner}", call)) is not None:
                recorded[path] = with_batch(found, ours)
        if len(recorded) < len(expected) or len(kept) != len(expected):
            return (), {}
        args, kwargs = with_tensors((event.args, dict(event.kwargs)), lambda path, _: recorded[path])
        return args, kwargs

    def _is_another_function(self, event: StageEvent, name: str, call: int) -> bool:
        """Whether what has this stage's name was given vectors of another width, as vLLM's activation functions are."""
        kept, ours = self._kept_inputs(event, name, call), tensors_of((event.args, event.kwargs))
        if len(kept) != 1 or len(ours) != 1:
            return False
        recorded = self._trace.tensor(event.token, name, f"input.{next(iter(kept))}", call)
        tensor = next(iter(ours.values()))
        if recorded is None or not (recorded.dim() and tensor.dim() and tensor.is_floating_point()):
            return False
        return recorded.shape[-1] != tensor.shape[-1]

    def _kept_inputs(self, event: StageEvent, name: str, call: int) -> set[str]:
        names = self._trace.tensor_names(event.token, name, call)
        return {each.removeprefix("input.") for each in names if each.startswith("input.")}


def with_batch(recorded: Tensor, ours: Tensor) -> Tensor:
    """A recorded tensor with or without the batch dimension, as ours has it."""
    if recorded.dim() + 1 == ours.dim() and ours.shape[0] == 1:
        return recorded[None]
    if recorded.dim() == ours.dim() + 1 and recorded.shape[0] == 1:
        return recorded[0]
    return recorded


def map_recorded(
    trace: Trace, anatomy: Anatomy, widths: Mapping[str, int], given: Mapping[str, Sequence[str]]
) -> StageMap:
    """Find which recorded stages stand for each of a live run's, by their names and the widths of what they return.

    `widths` are those of the live stages. `given` names the live run's modules for one of the recording's, or the
    recording's for one of the live run's, by the last parts of their addresses.
    """
    recorded = {each.address: each.shape[-1] for each in trace.stages(0) if each.shape}
    sources: dict[str, tuple[Source, ...]] = {}
    lonely = [each for each in anatomy.modules if each not in recorded and each in widths]
    free = [each for each in recorded if each not in anatomy.modules]
    for address in free:
        parent = address.rpartition(".")[0]
        named = [f"{parent}.{each}" for each in given.get(address.rpartition(".")[2], ())]
        beside = [each for each in lonely if each.rpartition(".")[0] == parent and each not in sources]
        parts = named or _adding_up(beside, widths, recorded[address])
        start = 0
        for part in parts:
            sources[part] = (Source(address, slice(start, start + widths[part])),)
            start += widths[part]
    for address in (each for each in lonely if each not in sources):
        parent = address.rpartition(".")[0]
        named = [f"{parent}.{each}" for each in given.get(address.rpartition(".")[2], ())]
        beside = [each for each in free if each.rpartition(".")[0] == parent]
        if parts := named or _adding_up(beside, recorded, widths[address]):
            sources[address] = tuple(map(Source, parts))
    return StageMap(sources, tuple(each for each in lonely if each not in sources))


def _adding_up(names: Sequence[str], widths: Mapping[str, int], total: int) -> Sequence[str]:
    """The first two or more neighbours whose widths add up to `total`; empty if there are none."""
    for start in range(len(names)):
        for end in range(start + 2, len(names) + 1):
            if sum(widths[each] for each in names[start:end]) == total:
                return names[start:end]
    return ()
