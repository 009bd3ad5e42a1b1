"""The rows of the tables of a recording, made of stages that have run and of what was computed of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from llmdbg.traces.reductions import Reduced, read
from llmdbg.traces.tables import STAGES

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.stages import Phase
    from llmdbg.traces.records import StageRecord

Milliseconds = Callable[[], "float | None"]
"""How long a stage took; may wait for the device."""
_MOST_COUNT = 2**32 - 1


class Row(NamedTuple):
    """A stage that has run and is not written yet."""

    stage: int
    """Its number, from 1."""
    token: int
    """The token that was being produced."""
    form: int
    """The number of the form of its output, from 1."""
    ms: float | Milliseconds | None
    """How long it took."""
    known: StageRecord | None = None
    """Its numbers, where they were known from the start."""


class ReducedGroup(NamedTuple):
    """What `reduce` has computed of the outputs of some rows."""

    buffer: Tensor
    """For `read`."""
    rows: list[int]
    """Which rows."""
    positions: int
    """How many positions each has."""


class OwnRow(NamedTuple):
    """What one process knows of a value that a stage returned there."""

    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Without `torch.`."""
    device: str
    """Its device."""
    phase: Phase
    """Of the forward."""
    known: bool
    """Whether the numbers are known."""
    statistics: tuple[float, ...]
    """Min, max, mean, std and norm."""
    nan: int
    """How many values are NaN."""
    inf: int
    """How many are infinite."""
    hash: int
    """Of its bits."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """What is equal of equal values."""
        return self.shape, self.dtype, self.known, self.hash

    def form(self) -> dict[str, Any]:
        """What rows like this one have in common."""
        named = {name: getattr(self, name) for name in ("shape", "dtype", "device", "phase")}
        return named | {"statistics": self.known, "hashes": self.known}


def own_rows(columns: Mapping[str, np.ndarray[Any, Any]], forms: Sequence[Mapping[str, Any]]) -> list[OwnRow]:
    """The rows of a table of stages. `forms` has the form of each."""
    numbers = zip(*(columns[name].tolist() for name in ("statistics", "nan", "inf", "hash")), strict=True)
    return [
        OwnRow(form["shape"], form["dtype"], form["device"], form["phase"], form["hashes"], tuple(statistics), *counts)
        for form, (statistics, *counts) in zip(forms, numbers, strict=True)
    ]


def positions_of(shape: tuple[int, ...], dimension: int | None, *, complex: bool) -> int:
    """How many vectors `by_position` makes of a tensor."""
    if dimension == -1 or (complex and dimension is None):
        return 1
    if dimension is None:
        return math.prod(shape[:-1]) if len(shape) > 1 else shape[0]
    if dimension == 2:
        return shape[0] * shape[2]
    return math.prod(shape[: dimension + 1])


def table_columns(
    rows: list[Row], reduced: list[ReducedGroup], written: int
) -> tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The columns of some rows, and the hashes (n,) and sketches (n, 16) of all their positions.

    `written` is how many positions are in their table already. Copies from each device once, which waits for it.
    """
    columns: dict[str, np.ndarray[Any, Any]] = {
        column.name: np.zeros(column.shape(len(rows)), column.numpy) for column in STAGES
    }
    hashes, sketches = [np.zeros(0, np.int64)], [np.zeros((0, 16), np.float32)]
    for group, found in zip(reduced, on_host(reduced), strict=True):
        at = np.asarray(group.rows)
        columns["statistics"][at] = found.statistics
        columns["nan"][at] = np.minimum(found.nan, _MOST_COUNT)
        columns["inf"][at] = np.minimum(found.inf, _MOST_COUNT)
        columns["hash"][at] = found.hashes
        columns["positions"][at] = group.positions
        columns["first_position"][at] = written + group.positions * np.arange(len(at))
        written += group.positions * len(at)
        hashes.append(found.position_hashes)
        sketches.append(found.sketch)
    for place, row in enumerate(rows):
        if row.known is not None:
            written += _fill(columns, place, row.known, written, hashes, sketches)
    columns["token"][:] = [row.token for row in rows]
    columns["form"][:] = [row.form for row in rows]
    columns["ms"][:] = [_milliseconds(row.ms) for row in rows]
    # The stage is written last: a row whose stage is 0 does not exist.
    del columns["stage"]
    columns["stage"] = np.asarray([row.stage for row in rows])
    return columns, np.concatenate(hashes), np.concatenate(sketches)


def on_host(reduced: list[ReducedGroup]) -> list[Reduced]:
    """The numbers of every group: one copy from each device."""
    sizes = [len(buffer) for buffer, _, _ in reduced]
    homes = {buffer.device for buffer, _, _ in reduced}
    if len(homes) == 1 and next(iter(homes)).type != "cpu":
        whole = torch.cat([buffer for buffer, _, _ in reduced]).cpu().numpy()
        buffers = np.split(whole, np.cumsum(sizes)[:-1])
    else:
        buffers = [buffer.cpu().numpy() for buffer, _, _ in reduced]
    return [read(buffer, len(rows), positions) for buffer, (_, rows, positions) in zip(buffers, reduced, strict=True)]


def _fill(
    columns: dict[str, np.ndarray[Any, Any]],
    at: int,
    known: StageRecord,
    base: int,
    hashes: list[np.ndarray[Any, Any]],
    sketches: list[np.ndarray[Any, Any]],
) -> int:
    """Fill a row from what is known. Returns how many positions were added."""
    if (numbers := known.statistics) is not None:
        columns["statistics"][at] = (numbers.min, numbers.max, numbers.mean, numbers.std, numbers.norm)
        columns["nan"][at], columns["inf"][at] = min(numbers.nan, _MOST_COUNT), min(numbers.inf, _MOST_COUNT)
    columns["hash"][at] = known.hash or 0
    if known.source is None:
        return 0
    positions = known.source.read()
    columns["positions"][at], columns["first_position"][at] = len(positions.hashes), base
    hashes.append(positions.hashes)
    sketches.append(positions.sketch)
    return len(positions.hashes)


def _milliseconds(ms: float | Milliseconds | None) -> float:
    found = ms() if callable(ms) else ms
    return math.nan if found is None else found
