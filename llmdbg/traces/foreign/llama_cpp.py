"""What llama.cpp's `llama-eval-callback` prints: every tensor of the graph, its shape, its corners and its sum.

    common_debug_cb_eval:   ffn_out-0 = (f32)  MUL_MAT(blk.0.ffn_down.weight{64, 32, 1, 1}, ffn_swiglu-0{64, 4, 1, 1}}) = {32, 4, 1, 1}
        [
            [
                [      0.0874,       0.0360,       0.0951,    ...,       0.1130,      -0.0042,      -0.0523  ],
            ],
        ]
        sum = 0.354755

Sizes are in ggml's order, the fastest first. A dimension of more than six is printed at both ends. Earlier versions begin
a line with `ggml_debug`. The ids of the prompt are in the log, where it was kept with `2>&1`.
"""  # noqa: E501 - a line as it is printed

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import TraceError
from llmdbg.files import why_not
from llmdbg.traces.foreign.dump import MOST_OUTPUTS, Dump, ForeignForward, ForeignOutput
from llmdbg.traces.foreign.looking import begins_with
from llmdbg.traces.foreign.names import PRODUCTS, stage_of_ggml
from llmdbg.traces.foreign.statistics import stated
from llmdbg.traces.safetensors_files import open_regular

if TYPE_CHECKING:
    from llmdbg.models.stages import Stage
    from llmdbg.probes.value_statistics import ValueStatistics

_HEADER = re.compile(
    r"(?:ggml_debug|common_debug_cb_eval): {1,40}(?P<name>\S.{0,200}?) = \((?P<type>\w{1,20})\) {1,20}"
    r"(?P<op>[\w ]{1,40})\(.{0,400}\) = \{(?P<sizes>\d{1,12}, \d{1,12}, \d{1,12}, \d{1,12})\}\s*$"
)
_LOOKS = rb"^(?:ggml_debug|common_debug_cb_eval): +\S.* = \(\w+\) +[\w ]+\(.*\) = \{\d+, \d+, \d+, \d+\}"
_SUM = re.compile(r"^\s*sum = (?P<sum>-?(?:nan|inf|[\d.]{1,60}(?:e[-+]?\d{1,3})?))\s*$")
_COUNT = re.compile(r"number of input tokens = (?P<count>\d{1,9})\s*$")
_ID = re.compile(r"(?:^|[A-Z]) +(?P<id>\d{1,9})\s*$")
_NUMBER = re.compile(r"-?(?:nan|inf|\d{1,50}\.\d{1,10})")
_MOST_LINE = 2**16
_MOST_BYTES = 64 * 2**30
_MOST_PRINTED = 6**3
_DTYPES = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "i32": "int32",
    "i64": "int64",
    "i16": "int16",
    "i8": "int8",
}
_LAST_OF_ITS_NAME = frozenset({"MUL_MAT", "ADD"})
_LOOK = 2**20


@dataclass(slots=True)
class _Printed:
    """A tensor as it was printed."""

    name: str
    op: str
    dtype: str
    shape: tuple[int, ...]
    sum: float | None = None
    values: list[float] = field(default_factory=list)
    is_whole: bool = True

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def statistics(self) -> ValueStatistics | None:
        """What the sum says, and where all values are printed, they."""
        if self.sum is None or not self.count:
            return None
        mean = self.sum / self.count
        whole = self.values if self.is_whole and len(self.values) == self.count else []
        if not whole or not all(map(math.isfinite, whole)):
            return stated(self.count, mean=mean, is_nan=math.isnan(self.sum))
        norm = math.sqrt(math.fsum(each * each for each in whole))
        return stated(self.count, low=min(whole), high=max(whole), mean=mean, norm=norm)


class LlamaCpp:
    """Text of llama.cpp's eval callback."""

    name = "llama.cpp's eval callback"

    def recognises(self, path: Path) -> bool:
        """A text that has a line of a tensor near its beginning, perhaps after the log of the loading."""
        return path.is_file() and begins_with(path, _LOOKS, _LOOK)

    def read(self, path: Path) -> Dump:
        """Open a text. Raises TraceError."""
        dump = Dump(self.name, path, iter(()))
        dump.notes.append(
            "llama.cpp prints the corners and the sum of each tensor: of the statistics only the mean is known"
        )
        dump.forwards = _forwards(path)
        return dump


def _forwards(path: Path) -> Iterator[ForeignForward]:
    """The forwards: one begins where the tensor that was the first comes again."""
    ids: list[int] = []
    tensors: list[_Printed] = []
    for each in _printed(path, ids):
        if tensors and (each.name, each.op) == (tensors[0].name, tensors[0].op):
            yield _forward(tensors, ids)
            tensors, ids = [], []
        if len(tensors) >= MOST_OUTPUTS:
            raise TraceError(f"{path} has more than {MOST_OUTPUTS:,} tensors in a forward")
        tensors.append(each)
    if tensors:
        yield _forward(tensors, ids)


def _forward(tensors: list[_Printed], ids: list[int]) -> ForeignForward:
    length = len(ids) or (tensors[0].shape[-2] if len(tensors[0].shape) > 1 else 1)
    return ForeignForward(lambda: _outputs(tensors), tuple(ids), length=length)


def _outputs(tensors: list[_Printed]) -> Iterator[ForeignOutput]:
    last = {each.name: at for at, each in enumerate(tensors) if each.op in _LAST_OF_ITS_NAME}
    for at, each in enumerate(tensors):
        yield ForeignOutput(
            _stage(each, is_last=last.get(each.name, at) == at), {}, each.statistics(), each.shape, each.dtype
        )


def _stage(tensor: _Printed, *, is_last: bool) -> Stage:
    """The stage of a tensor. What is reshaped or rotated under a product's name is not what the module returns."""
    base, _, layer = tensor.name.partition("-")
    if base in PRODUCTS and layer.isdecimal() and not (tensor.op in _LAST_OF_ITS_NAME and is_last):
        return stage_of_ggml(f"{base}.{tensor.op.lower()}-{layer}")
    return stage_of_ggml(tensor.name)


def _printed(path: Path, ids: list[int]) -> Iterator[_Printed]:
    """The tensors of a text in order; `ids` takes those of the prompt. Raises TraceError."""
    current: _Printed | None = None
    waiting = 0
    for number, line in enumerate(_lines(path), start=1):
        if "= (" in line and (match := _HEADER.search(line)) is not None:
            if current is not None:
                yield current
            current, waiting = _begun(match, path, number), 0
        elif (counted := _COUNT.search(line)) is not None:
            waiting = int(counted["count"])
        elif waiting and (found := _ID.search(line)) is not None:
            ids.append(int(found["id"]))
            waiting -= 1
        elif current is not None and (total := _SUM.match(line)) is not None:
            current.sum = float(total["sum"])
        elif current is not None and current.is_whole:
            _add(current, line)
    if current is not None:
        yield current


def _begun(match: re.Match[str], path: Path, number: int) -> _Printed:
    sizes = [int(each) for each in match["sizes"].split(",")]
    if math.prod(sizes) >= 2**62:
        raise TraceError(f"{path} is damaged in line {number}: its sizes make no sense")
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    kind = match["type"]
    return _Printed(match["name"], match["op"].strip(), _DTYPES.get(kind, kind), tuple(reversed(sizes)))


def _add(current: _Printed, line: str) -> None:
    if "..." in line or len(current.values) > _MOST_PRINTED:
        current.is_whole, current.values = False, []
    elif "[" in line:
        current.values += map(float, _NUMBER.findall(line))


def _lines(path: Path) -> Iterator[str]:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise TraceError(f"{path} is too large to be read")
            while line := file.readline(_MOST_LINE):
                yield line.decode("utf-8", "replace")
    except OSError as error:
        raise TraceError(f"cannot read {path}: {why_not(error)}") from error
