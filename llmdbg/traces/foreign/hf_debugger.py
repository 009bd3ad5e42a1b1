"""Hugging Face's model debugger: `transformers.model_debugging_utils.model_addition_debugger_context`.

It writes the tree of a forward's calls, `CLASS_debug_tree_FULL_TENSORS.json` and `…_SUMMARY.json`. With
`use_repr=False`, each tensor lies in a safetensors file beside it; else only statistics, in five digits, can be used. A
module made of others has inputs and no output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import TraceError
from llmdbg.traces.foreign.documents import document_in
from llmdbg.traces.foreign.dump import Dump, ForeignForward, ForeignOutput
from llmdbg.traces.foreign.looking import begins_with, files_ending
from llmdbg.traces.foreign.names import is_head, stage_of_module
from llmdbg.traces.foreign.statistics import stated

if TYPE_CHECKING:
    from torch import Tensor

_FULL, _SUMMARY = "_debug_tree_FULL_TENSORS.json", "_debug_tree_SUMMARY.json"
_DEEPEST = 64
_SHAPE = re.compile(r"^torch\.Size\(\[(?P<sizes>[\d, ]{0,200})\]\)$")
_NUMBER = re.compile(r"^tensor\(\s*(?P<number>[-+]?(?:nan|inf|[\d.]+(?:e[-+]?\d+)?))")
_MOST_DIGITS = 2**20


class HuggingFaceDebugger:
    """Trees of Hugging Face's model debugger."""

    name = "Hugging Face's model debugger"

    def recognises(self, path: Path) -> bool:
        """A tree, or a folder that holds one."""
        if path.is_dir():
            return any(files_ending(path, each) for each in (_FULL, _SUMMARY))
        return path.suffix == ".json" and begins_with(path, rb'^\s*\{\s*"module_path"\s*:')

    def read(self, path: Path) -> Dump:
        """Open a tree; of a folder, the one with tensors. Raises TraceError."""
        file = path if not path.is_dir() else _only(path)
        return _Tree(file, document_in(file)).dump()


def _only(folder: Path) -> Path:
    found = files_ending(folder, _FULL) or files_ending(folder, _SUMMARY)
    if len(found) > 1:
        raise TraceError(f"{folder} holds {len(found)} trees of calls: name one of the files")
    return found[0]


class _Tree:
    """One tree of calls."""

    def __init__(self, path: Path, tree: Any) -> None:
        if not isinstance(tree, dict) or not isinstance(tree.get("module_path"), str):
            raise TraceError(f"{path} is damaged: it has no module_path")
        self._path = path
        self._tree = tree
        self._root = tree["module_path"]
        self._without_output = 0
        self._dump = Dump(HuggingFaceDebugger.name, path, iter(()), model_class=self._root)

    def dump(self) -> Dump:
        """The dump of this tree's forward."""
        ids, shape = self._ids(self._tree, 0)
        batch, length = (shape[0], shape[1]) if len(shape) == 2 else (1, len(ids))
        self._dump.forwards = iter([ForeignForward(self._outputs, ids, batch, length)])
        self._dump.notes.append("it has no outputs of modules that are made of others, such as whole layers")
        return self._dump

    def _ids(self, node: Any, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the first call that got whole numbers of two dimensions got, and their shape."""
        for name, each in self._tensors("input", node.get("inputs"), depth):
            if name.rpartition(".")[2] in ("input_ids", "0") and "int" in str(each.get("dtype")):
                shape = self._shape(each)
                if len(shape) == 2 and (found := self._whole_numbers(each)):
                    return found[: shape[1]], shape
        for child in self._children(node, depth):
            ids, shape = self._ids(child, depth + 1)
            if ids:
                return ids, shape
        return (), ()

    def _whole_numbers(self, value: Mapping[str, Any]) -> tuple[int, ...]:
        from llmdbg.traces.foreign.values import ids_in

        written = value.get("value")
        if isinstance(written, str):
            return ids_in(self._tensor(value))
        if not isinstance(written, list) or not all(isinstance(each, str) for each in written):
            return ()
        text = "".join(written)[:_MOST_DIGITS]
        return () if "..." in text else tuple(map(int, re.findall(r"-?\d{1,18}", text.partition("]])")[0])))

    def _outputs(self) -> Iterator[ForeignOutput]:
        yield from self._of(self._tree, 0)

    def _of(self, node: Mapping[str, Any], depth: int) -> Iterator[ForeignOutput]:
        """What a call's parts returned, and then the call itself."""
        for child in self._children(node, depth):
            yield from self._of(child, depth + 1)
        path = node.get("module_path")
        if not isinstance(path, str) or len(path) > 400:
            raise TraceError(f"{self._path} is damaged: a module_path is no text of a sensible length")
        if depth == 0:
            return
        returned = self._tensors("output", node.get("outputs"), depth)
        if not returned:
            return
        own = path.removeprefix(f"{self._root}.")
        values = {}
        if isinstance(returned[0][1].get("value"), str):
            named = [*returned, *self._tensors("input", node.get("inputs"), depth)]
            values = {name: self._tensor(each) for name, each in named if isinstance(each.get("value"), str)}
        first = returned[0][1]
        yield ForeignOutput(
            stage_of_module(own), values, self._statistics(first), self._shape(first), _dtype(first), is_head(own)
        )

    def _children(self, node: Any, depth: int) -> list[dict[str, Any]]:
        children = node.get("children") or []
        if depth >= _DEEPEST or not isinstance(children, list) or not all(isinstance(each, dict) for each in children):
            raise TraceError(f"{self._path} is damaged: its calls are nested too deep, or are none")
        return children

    def _tensors(self, name: str, value: Any, depth: int) -> list[tuple[str, dict[str, Any]]]:
        """Every tensor in a value, named by the path to it; positional arguments by their number alone."""
        if depth >= _DEEPEST:
            raise TraceError(f"{self._path} is damaged: its values are nested too deep")
        if isinstance(value, dict) and isinstance(value.get("shape"), str):
            return [(name, value)]
        if isinstance(value, dict):
            items = [(name if key in ("args", "kwargs") else f"{name}.{key}", each) for key, each in value.items()]
        elif isinstance(value, list):
            items = [(f"{name}.{place}", each) for place, each in enumerate(value)]
        else:
            return []
        return [found for key, each in items for found in self._tensors(key, each, depth + 1)]

    def _tensor(self, value: Mapping[str, Any]) -> Tensor:
        from llmdbg.traces.foreign.values import inside, safetensors_in

        file = inside(self._path.parent, value.get("value"), self._path)
        found = safetensors_in(file).get("data")
        if found is None:
            raise TraceError(f"{file} is damaged: it has no tensor named data")
        return found

    def _shape(self, value: Mapping[str, Any]) -> tuple[int, ...]:
        match = _SHAPE.match(str(value.get("shape")))
        if match is None:
            raise TraceError(f"{self._path} is damaged: {str(value.get('shape'))[:60]!r} is no shape")
        sizes = tuple(int(each) for each in match["sizes"].split(",") if each.strip())
        if math.prod(sizes) >= 2**62:
            raise TraceError(f"{self._path} is damaged: a shape makes no sense")
        return sizes

    def _statistics(self, value: Mapping[str, Any]) -> Any:
        found = {name: _number(value.get(name)) for name in ("min", "max", "mean", "std")}
        if all(each is None for each in found.values()):
            return None
        low, high, mean, std = (math.nan if each is None else each for each in found.values())
        count = math.prod(self._shape(value))
        # torch's default divides by one value less.
        return stated(
            count,
            low=low,
            high=high,
            mean=mean,
            std=std * math.sqrt((count - 1) / count) if count else std,
            is_nan=any(each is not None and math.isnan(each) for each in found.values()),
        )


def _number(text: Any) -> float | None:
    match = _NUMBER.match(text) if isinstance(text, str) else None
    try:
        return float(match["number"]) if match is not None else None
    except ValueError:
        return None


def _dtype(value: Mapping[str, Any]) -> str:
    return str(value.get("dtype"))[:40].removeprefix("torch.")
