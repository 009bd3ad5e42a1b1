"""Polygraphy's results: `RunResults.save` and `polygraphy run --save-outputs`.

JSON with arrays as base64 of numpy.save, or of torch.save; or a folder of such files, one for each iteration.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import TraceError
from llmdbg.traces.foreign.documents import document_in
from llmdbg.traces.foreign.dump import Dump, ForeignForward, ForeignOutput
from llmdbg.traces.foreign.looking import begins_with, files_ending
from llmdbg.traces.foreign.names import LOGITS, is_head, stage_of_output

if TYPE_CHECKING:
    from torch import Tensor

_RESULTS = rb'^\s*\{\s*"lst"\s*:\s*\['
_CLASS = "polygraphy_class"
_MOST_NAME = 400


class Polygraphy:
    """Results of Polygraphy's runners."""

    name = "Polygraphy"

    def recognises(self, path: Path) -> bool:
        """A file of results, or a folder whose first JSON file is one."""
        if path.is_dir():
            files = files_ending(path, ".json")
            return bool(files) and begins_with(files[0], _RESULTS)
        return begins_with(path, _RESULTS)

    def read(self, path: Path) -> Dump:
        """Open results. Of several runners, the first is taken. Raises TraceError."""
        dump = Dump(self.name, path, iter(()))
        dump.forwards = _forwards(dump, files_ending(path, ".json") if path.is_dir() else [path])
        return dump


def _forwards(dump: Dump, files: list[Path]) -> Iterator[ForeignForward]:
    """An iteration is a forward."""
    for file in files:
        document = document_in(file)
        runners = document.get("lst") if isinstance(document, dict) else None
        if not isinstance(runners, list) or not runners:
            raise TraceError(f"{file} is damaged: it has no list of runners")
        if len(runners) > 1:
            dump.notes.append(f"of {len(runners)} runners the first is taken")
        match runners[0]:
            case [str(runner), list(iterations)]:
                dump.config["runner"] = runner[:_MOST_NAME]
            case _:
                raise TraceError(f"{file} is damaged: a runner is no name and list of iterations")
        for at, each in enumerate(iterations):
            yield _forward(each, file, f" in iteration {at}")


def _forward(iteration: Any, path: Path, where: str) -> ForeignForward:
    outputs = iteration.get("outputs") if isinstance(iteration, dict) else None
    if not isinstance(outputs, dict):
        raise TraceError(f"{path} is damaged{where}: it has no outputs")
    values = {name: _array(each, path, f"{where}, {name[:60]!r}") for name, each in outputs.items()}
    shapes = [tuple(each.shape) for each in values.values() if each.dim() == 3]
    batch, length = (shapes[0][0], shapes[0][1]) if shapes else (1, 0)
    return ForeignForward(lambda: _outputs(values), batch=max(1, batch), length=length)


def _outputs(values: Mapping[str, Tensor]) -> Iterator[ForeignOutput]:
    for name, value in values.items():
        stage = stage_of_output(name[:_MOST_NAME])
        yield ForeignOutput(stage, {"output": value}, is_head=stage == LOGITS or is_head(stage.address))


def _array(value: Any, path: Path, where: str) -> Tensor:
    """An array, in a LazyArray or by itself. Raises TraceError."""
    from llmdbg.traces.foreign.values import bounded, npy_of, pt_of

    inner = value.get("values") if isinstance(value, dict) and "values" in value else value
    if not isinstance(inner, dict):
        raise TraceError(f"{path} is damaged{where}: it is no array")
    kind = inner.get(_CLASS)
    try:
        if kind == "ndarray":
            return npy_of(base64.b64decode(inner["array"], validate=True), path, where)
        if kind == "Tensor":
            import torch

            found = pt_of(base64.b64decode(inner["tensor"], validate=True), path)
            if isinstance(found, torch.Tensor):
                return bounded(found, path)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise TraceError(f"{path} is damaged{where}: its array is no base64") from error
    raise TraceError(f"{path} is damaged{where}: it is no array")
