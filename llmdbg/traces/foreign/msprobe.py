"""msprobe (MindStudio Probe), PyTorch: `PrecisionDebugger`.

It writes `stepN/rankM/dump.json` and `dump_tensor_data/`. The JSON names every call of a module
(`Module.PATH.CLASS.forward.N`) or of a function (`Functional.softmax.0.forward`) in the order in which they ended, with
statistics, and with the task `tensor` the name of a `.pt` or `.npy` file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import TraceError
from llmdbg.models.stages import Stage, StageKind
from llmdbg.traces.foreign.documents import document_in
from llmdbg.traces.foreign.dump import Dump, ForeignForward, ForeignOutput
from llmdbg.traces.foreign.looking import begins_with, entries
from llmdbg.traces.foreign.names import is_head, stage_of_module
from llmdbg.traces.foreign.statistics import stated

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.probes.value_statistics import ValueStatistics

_FILE, _TENSORS = "dump.json", "dump_tensor_data"
_LOOKS = rb'^\s*\{\s*"task"\s*:\s*"[^"]*"\s*,\s*"level"\s*:'
_DEEPEST = 16


class Msprobe:
    """Trees of msprobe's dumps."""

    name = "msprobe"

    def recognises(self, path: Path) -> bool:
        """A `dump.json`, or a folder that holds one, perhaps in those of its steps and ranks."""
        if path.is_dir():
            files = _files(path)
            return bool(files) and begins_with(files[0], _LOOKS)
        return path.name == _FILE and begins_with(path, _LOOKS)

    def read(self, path: Path) -> Dump:
        """Open a dump. Of several ranks, the first is taken. Raises TraceError."""
        dump = Dump(self.name, path, iter(()))
        dump.forwards = _forwards(dump, _files(path) if path.is_dir() else [path])
        return dump


def _files(folder: Path) -> list[Path]:
    """The `dump.json` of each step, of its first rank."""
    if _is_file(folder / _FILE):
        return [folder / _FILE]
    steps = sorted((each for each in _folders(folder, "step")), key=_number)
    found = []
    for step in steps or [folder]:
        ranks = sorted((*_folders(step, "rank"), *_folders(step, "proc")), key=_number)
        found += [each / _FILE for each in ranks[:1] if _is_file(each / _FILE)]
    return found


def _folders(folder: Path, name: str) -> list[Path]:
    return [each for each in entries(folder) if each.name.startswith(name) and each.is_dir()]


def _number(path: Path) -> int:
    digits = "".join(each for each in path.name if each in "0123456789")[:9]
    return int(digits) if digits else 0


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _forwards(dump: Dump, files: list[Path]) -> Iterator[ForeignForward]:
    """The forwards of every step. A forward begins where the call that began the first one comes again."""
    for path in files:
        document = document_in(path)
        data = document.get("data") if isinstance(document, dict) else None
        if not isinstance(data, dict):
            raise TraceError(f"{path} is damaged: it has no data")
        dump.config |= {name: str(document[name])[:100] for name in ("task", "level", "framework") if name in document}
        step = _Step(path, dump)
        calls: list[tuple[Stage, dict[str, Any]]] = []
        for name, each in data.items():
            stage = _stage(name)
            if stage is None or not isinstance(each, dict):
                continue
            if calls and stage.module is not None and stage == calls[0][0]:
                yield step.forward(calls)
                calls = []
            calls.append((stage, each))
        if calls:
            yield step.forward(calls)


def _stage(name: str) -> Stage | None:
    """The stage of a call; None for one of the backward pass."""
    if len(name) > 600:
        return None
    kind, *parts = name.split(".")
    if kind == "Module" and len(parts) > 3 and parts[-2] == "forward":
        return stage_of_module(".".join(parts[:-3]))
    if kind == "Module" or (parts and parts[-1] == "backward"):
        return None
    return Stage(StageKind.MODULE, name.removesuffix(".forward"), None, None, 2)


class _Step:
    """The calls of one `dump.json`."""

    def __init__(self, path: Path, dump: Dump) -> None:
        self._path = path
        self._dump = dump
        self._missing = 0

    def forward(self, calls: list[tuple[Stage, dict[str, Any]]]) -> ForeignForward:
        """The forward that some calls are. What was fed are the first ids that a module got."""
        ids: tuple[int, ...] = ()
        shape: tuple[int, ...] = ()
        for _, call in calls:
            given = self._tensors("input", call.get("input_args")) | self._tensors("input", call.get("input_kwargs"))
            whole = [each for each in given.values() if "int" in str(each.get("dtype"))]
            if whole:
                shape = self._shape(whole[0])
                ids = self._ids(whole[0]) if len(shape) == 2 else ()
                break
        batch, length = (shape[0], shape[1]) if len(shape) == 2 else (1, 0)
        return ForeignForward(lambda: self._outputs(calls), ids, max(1, batch), length)

    def _ids(self, value: Mapping[str, Any]) -> tuple[int, ...]:
        from llmdbg.traces.foreign.values import ids_in

        return ids_in(self._tensor(value)) if isinstance(value.get("data_name"), str) else ()

    def _outputs(self, calls: list[tuple[Stage, dict[str, Any]]]) -> Iterator[ForeignOutput]:
        for stage, call in calls:
            returned = self._tensors("output", call.get("output"), alone=True)
            if not returned:
                continue
            named = (
                returned
                | self._tensors("input", call.get("input_args"))
                | self._tensors("input", call.get("input_kwargs"))
            )
            first = next(iter(returned.values()))
            values = {}
            if isinstance(first.get("data_name"), str):
                values = {name: self._tensor(each) for name, each in named.items() if each.get("data_name")}
            head = stage.module is not None and is_head(stage.module)
            yield ForeignOutput(
                stage, values, _statistics(first, self._shape(first)), self._shape(first), _dtype(first), head
            )

    def _tensors(self, name: str, value: Any, *, alone: bool = False, depth: int = 0) -> dict[str, dict[str, Any]]:
        """Every tensor in a value by name. A list of one output is that output where `alone` says so."""
        if depth > _DEEPEST:
            raise TraceError(f"{self._path} is damaged: its values are nested too deep")
        if isinstance(value, dict) and "Tensor" in str(value.get("type")) and "shape" in value:
            return {name: value}
        if alone and isinstance(value, list) and len(value) == 1:
            return self._tensors(name, value[0], depth=depth + 1)
        if isinstance(value, dict):
            items = [(str(key)[:100], each) for key, each in value.items()]
        elif isinstance(value, list):
            items = [(str(place), each) for place, each in enumerate(value)]
        else:
            return {}
        found: dict[str, dict[str, Any]] = {}
        for key, each in items:
            found |= self._tensors(f"{name}.{key}", each, depth=depth + 1)
        return found

    def _tensor(self, value: Mapping[str, Any]) -> Tensor:
        import torch

        from llmdbg.traces.foreign.values import bounded, inside, npy_in, pt_in

        file = inside(self._path.parent / _TENSORS, value["data_name"], self._path)
        if (self._path.parent / _TENSORS).is_symlink():
            raise TraceError(f"{file.parent} is a link, which is not followed")
        if file.suffix == ".npy":
            return npy_in(file)
        found = pt_in(file)
        if not isinstance(found, torch.Tensor):
            raise TraceError(f"{file} is damaged: it holds no tensor")
        return bounded(found, file)

    def _shape(self, value: Mapping[str, Any]) -> tuple[int, ...]:
        shape = value.get("shape")
        sound = isinstance(shape, list) and len(shape) <= 64 and all(type(each) is int and each >= 0 for each in shape)
        if not sound or math.prod(shape or ()) >= 2**62:
            raise TraceError(f"{self._path} is damaged: {str(shape)[:60]} is no shape")
        assert isinstance(shape, list)
        return tuple(shape)


def _dtype(value: Mapping[str, Any]) -> str:
    return str(value.get("dtype"))[:40].removeprefix("torch.")


def _statistics(value: Mapping[str, Any], shape: tuple[int, ...]) -> ValueStatistics | None:
    found = {name: value.get(name) for name in ("Min", "Max", "Mean", "Norm")}
    if not any(isinstance(each, (int, float)) for each in found.values()):
        return None
    low, high, mean, norm = (_real(each) for each in found.values())
    is_nan = any(isinstance(each, float) and math.isnan(each) for each in found.values())
    return stated(math.prod(shape), low=low, high=high, mean=mean, norm=norm, is_nan=is_nan)


def _real(value: Any) -> float:
    try:
        return float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:
        return math.nan
