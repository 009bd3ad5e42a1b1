"""SGLang: `--debug-tensor-dump-output-folder` (`TP…_PP…_Rank…_pid…/Pass00000.pt`) and its dumper (`DUMPER_ENABLE=1`).

A pass holds every tensor by the module's path. Its hook on `model` writes the file before it adds what `model`
returned: that, and the logits, are in the file of the next pass. The dumper writes a file for each value, named by its
tags:
`step=0___rank=0___dump_index=7___name=non_intrusive__model.layers.0.mlp.output___….pt`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import TraceError
from llmdbg.models.stages import Stage, StageKind
from llmdbg.traces.foreign.dump import Dump, ForeignForward, ForeignOutput
from llmdbg.traces.foreign.looking import entries
from llmdbg.traces.foreign.names import is_head, stage_of_module

if TYPE_CHECKING:
    from torch import Tensor

_PASS = re.compile(r"^Pass\d{1,9}\.pt$")
_PROCESS = re.compile(r"^TP\d+_PP\d+_Rank(?P<rank>\d{1,6})_pid\d+$")
_TAGS = re.compile(
    r"^step=(?P<step>\d{1,9})___rank=(?P<rank>\d{1,6})___dump_index=(?P<index>\d{1,9})___name=(?P<name>.+?)(?:___.*)?\.pt$"
)
_PREFIX = "non_intrusive__"
_BATCH = ".forward_batch_info."


class SglangPasses:
    """Folders of `--debug-tensor-dump-output-folder`."""

    name = "SGLang's tensor dump"

    def recognises(self, path: Path) -> bool:
        """A folder of passes, or of the folders of processes."""
        return path.is_dir() and bool(_passes(path))

    def read(self, path: Path) -> Dump:
        """Open the passes; of several ranks, the first. Raises TraceError."""
        dump = Dump(self.name, path, iter(()))
        dump.forwards = _forwards_of_passes(_passes(path))
        if len([each for each in entries(path) if _PROCESS.match(each.name)]) > 1:
            dump.notes.append("of several ranks or processes the first is taken")
        return dump


def _passes(folder: Path) -> list[Path]:
    found = [each for each in entries(folder) if _PASS.match(each.name) and each.is_file()]
    if found:
        return found
    processes = [(int(match["rank"]), each) for each in entries(folder) if (match := _PROCESS.match(each.name))]
    for _, process in sorted(processes):
        if process.is_dir() and (found := _passes(process)):
            return found
    return []


def _forwards_of_passes(files: list[Path]) -> Iterator[ForeignForward]:
    before: tuple[Path, dict[str, Any]] | None = None
    for file in files:
        values = _tensors_in(file)
        top = next((name.partition(_BATCH)[0] for name in values if _BATCH in name), "model")
        own = {name: each for name, each in values.items() if before is None or name.startswith(f"{top}.")}
        if before is not None:
            yield _pass(*before, {name: each for name, each in values.items() if name not in own})
        before = file, own
    if before is not None:
        yield _pass(*before, {})


def _tensors_in(file: Path) -> dict[str, Any]:
    from llmdbg.traces.foreign.values import pt_in

    found = pt_in(file)
    if not isinstance(found, dict) or not all(isinstance(name, str) and len(name) < 600 for name in found):
        raise TraceError(f"{file} is damaged: it holds no tensors by name")
    return found


def _pass(file: Path, values: Mapping[str, Any], late: Mapping[str, Any]) -> ForeignForward:
    """A pass, and what belongs to it in the next one's file."""
    from llmdbg.traces.foreign.values import ids_in

    batch = {name.partition(_BATCH)[2]: each for name, each in values.items() if _BATCH in name}
    ids, positions = ids_in(batch.get("input_ids")), ids_in(batch.get("positions"))
    rest = {name: each for name, each in ({**values, **late}).items() if _BATCH not in name}
    return ForeignForward(
        lambda: _outputs_of_pass(file, rest), ids, length=len(ids), positions=positions if positions else None
    )


def _outputs_of_pass(file: Path, values: Mapping[str, Any]) -> Iterator[ForeignOutput]:
    for name, each in values.items():
        stage = stage_of_module(name)
        yield ForeignOutput(stage, _named("output", each, file), is_head=is_head(name))


def _named(name: str, value: Any, file: Path) -> dict[str, Tensor]:
    """The tensors in a value. Raises TraceError."""
    import torch

    from llmdbg.traces.foreign.values import bounded

    if isinstance(value, torch.Tensor):
        return {name: bounded(value, file)}
    if isinstance(value, (list, tuple)) and len(value) < 1000:
        return {f"{name}.{at}": bounded(each, file) for at, each in enumerate(value) if isinstance(each, torch.Tensor)}
    return {}


@dataclass(slots=True)
class _Call:
    """The files of one call of a module, or the file of a value by itself."""

    stage: Stage
    files: dict[str, Path] = field(default_factory=dict)
    """By the name of the value."""
    is_head: bool = False


class SglangDumper:
    """Folders of SGLang's dumper."""

    name = "SGLang's dumper"

    def recognises(self, path: Path) -> bool:
        """A folder of files whose names are tags, or that of the only experiment in it."""
        return path.is_dir() and bool(_tagged(path))

    def read(self, path: Path) -> Dump:
        """Open the values of the first rank. Raises TraceError."""
        dump = Dump(self.name, path, iter(()))
        found = _tagged(path)
        if len({int(match["rank"]) for match, _ in found}) > 1:
            dump.notes.append("of several ranks the first is taken")
        lowest = min(int(match["rank"]) for match, _ in found)
        dump.forwards = _forwards_of_steps(dump, [each for each in found if int(each[0]["rank"]) == lowest])
        return dump


def _tagged(folder: Path) -> list[tuple[re.Match[str], Path]]:
    """The files, in the order in which they were written."""
    found = [(match, each) for each in entries(folder) if (match := _TAGS.match(each.name)) and each.is_file()]
    if not found:
        experiments = [each for each in entries(folder) if each.name.startswith("dump_") and each.is_dir()]
        return _tagged(experiments[-1]) if experiments else []
    return sorted(found, key=lambda each: (int(each[0]["step"]), int(each[0]["index"])))


def _forwards_of_steps(dump: Dump, files: list[tuple[re.Match[str], Path]]) -> Iterator[ForeignForward]:
    steps: dict[int, list[tuple[str, Path]]] = {}
    for match, path in files:
        steps.setdefault(int(match["step"]), []).append((match["name"], path))
    for step in steps.values():
        yield _step(dump, step)


def _step(dump: Dump, files: list[tuple[str, Path]]) -> ForeignForward:
    from llmdbg.traces.foreign.values import ids_in

    calls = _calls(files)
    by_name = dict(files)

    def whole_numbers(name: str) -> tuple[int, ...]:
        return ids_in(_value(dump, by_name[name])) if name in by_name else ()

    ids, positions = whole_numbers("input_ids"), whole_numbers("positions")
    return ForeignForward(
        lambda: _outputs_of_step(dump, calls), ids, length=len(ids), positions=positions if positions else None
    )


def _calls(files: list[tuple[str, Path]]) -> list[_Call]:
    """The files by call. A module's inputs are written before its output."""
    waiting: dict[str, _Call] = {}
    done: list[_Call] = []
    for name, path in files:
        if not name.startswith(_PREFIX):
            done.append(_Call(Stage(StageKind.MODULE, name, None, None, 2), {"output": path}))
            continue
        module, which, inner = _parts(name.removeprefix(_PREFIX))
        if not module:
            continue
        call = waiting.get(module)
        if call is None or (which == "inputs" and "output" in {each.partition(".")[0] for each in call.files}):
            call = waiting[module] = _Call(stage_of_module(module), is_head=is_head(module))
        key = "input" if which == "inputs" else "output"
        if key == "output" and not any(each.partition(".")[0] == "output" for each in call.files):
            done.append(call)
        call.files[f"{key}.{inner}" if inner else key] = path
    return done


def _parts(name: str) -> tuple[str, str, str]:
    """Module, `inputs` or `output`, and the rest of `model.layers.0.mlp.inputs.0`."""
    parts = name.split(".")
    at = next((place for place in reversed(range(len(parts))) if parts[place] in ("inputs", "output")), None)
    return ("", "", "") if at is None else (".".join(parts[:at]), parts[at], ".".join(parts[at + 1 :]))


def _outputs_of_step(dump: Dump, calls: list[_Call]) -> Iterator[ForeignOutput]:
    import torch

    for call in calls:
        values: dict[str, Tensor] = {}
        for name, path in call.files.items():
            value = _value(dump, path)
            if isinstance(value, torch.Tensor):
                values |= _named(name, value, path)
        if any(each.partition(".")[0] == "output" for each in values):
            yield ForeignOutput(call.stage, values, is_head=call.is_head)


def _value(dump: Dump, path: Path) -> Any:
    """What was dumped in a file; None, with a note, for what is more than tensors."""
    from llmdbg.traces.foreign.values import pt_in

    try:
        found = pt_in(path)
    except TraceError as error:
        if "holds more than tensors" not in str(error):
            raise
        dump.notes.append("values that are more than tensors are left out: nothing else is unpickled")
        return None
    if not isinstance(found, dict) or "value" not in found:
        raise TraceError(f"{path} is damaged: it holds no value")
    return found["value"]
