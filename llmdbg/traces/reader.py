"""Reads a recording. Nothing in its folder is believed, no code of it is run, and nothing outside it is touched.

Opening reads the header and finds the lines of the tokens; everything else is read when it is asked for. What is
damaged raises a TraceError that names the file, and what lies before it can still be read.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from llmdbg.errors import TraceError
from llmdbg.files import why_not
from llmdbg.models.stages import Phase
from llmdbg.probes.value_statistics import ValueStatistics
from llmdbg.traces.json_text import parsed, record_from
from llmdbg.traces.rank_rows import RankRows
from llmdbg.traces.records import (
    FORMAT,
    Positions,
    RanksRecord,
    RunHeader,
    StageEntry,
    StageLayouts,
    StageRecord,
    TokenRecord,
)
from llmdbg.traces.safetensors_files import open_regular
from llmdbg.traces.tables import POSITIONS, STAGES, TableReader, file_name

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.traces.tensor_files import TensorReader

HEADER, TOKENS, INDEX = "trace.json", "tokens.jsonl", "index.jsonl"
_MOST_HEADER_BYTES = 64 * 2**20
_MOST_INDEX_BYTES = 64 * 2**20
_MOST_LINES_BYTES = 4 * 2**30
_MOST_LINE_BYTES = 64 * 2**20
_MOST_ROWS_PER_SHARD = 2**20
_MOST_ROWS_OF_A_TOKEN = 2**20
_MOST_POSITIONS = 2**22
_MOST_NUMBERS = 2**48
_REALS = frozenset({"prob", "logit", "entropy", "ms"})
_KEPT_TOKENS = 8
_MOST_RANKS = 2**14


@dataclass(frozen=True, slots=True)
class _Form:
    """What rows of one form have in common."""

    form: int
    shape: tuple[int, ...]
    dtype: str
    device: str
    phase: Phase
    by_position: bool
    statistics: bool
    hashes: bool
    sketches: bool
    tensors: tuple[str, ...] = ()
    input_width: int | None = None
    layouts: StageLayouts | None = None


@dataclass(frozen=True, slots=True)
class _InTable:
    """Positions that are read from the table when asked for."""

    table: TableReader
    first: int
    count: int

    def read(self) -> Positions:
        found = self.table.read(self.first, self.count)
        return Positions(found["hash"], found["sketch"])


class TokenRecords(Sequence[TokenRecord]):
    """The tokens of a recording, each parsed when it is asked for. Raises TraceError for a damaged one.

    `is_cut` says that something is left behind the last whole one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends, self.is_cut = _line_ends(path)
        self._known: OrderedDict[int, TokenRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> TokenRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TokenRecord]: ...
    def __getitem__(self, index: int | slice) -> TokenRecord | Sequence[TokenRecord]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        if at not in self._known:
            if len(self._known) >= 4096:
                self._known.popitem(last=False)
            self._known[at] = self._read(at)
        return self._known[at]

    def _read(self, at: int) -> TokenRecord:
        first, last = int(self._ends[at]), int(self._ends[at + 1])
        where = f" in line {at + 1}"
        if last - first > _MOST_LINE_BYTES:
            raise TraceError(f"{self.path} is damaged{where}: the line is too long")
        try:
            file = open_regular(self.path)
            try:
                raw = os.pread(file, last - first, first)
            finally:
                os.close(file)
        except OSError as error:
            raise TraceError(f"cannot read {self.path}: {why_not(error)}") from error
        record = record_from(parsed(raw, self.path, where, reals=_REALS), TokenRecord, self.path, where)
        if record.index != at or not 0 <= record.rows <= _MOST_ROWS_OF_A_TOKEN or record.first_row < 0:
            raise TraceError(f"{self.path} is damaged{where}: its index or its rows make no sense")
        return record


class Trace:
    """A recording. Raises TraceError, in one line that names the file, for whatever is wrong with one."""

    def __init__(self, folder: Path, header: RunHeader) -> None:
        self.folder = folder
        self.header = header
        self.tokens = TokenRecords(folder / TOKENS)
        self._rows = TableReader(folder, "stages", STAGES, header.rows_per_shard)
        self._positions = TableReader(folder, "positions", POSITIONS, header.rows_per_shard)
        self._ranks = RankRows(folder, len(header.ranks), header.rows_per_shard)
        self._known: OrderedDict[int, tuple[StageRecord, ...]] = OrderedDict()
        self._own_tensors: dict[int, TensorReader] = {}

    @staticmethod
    def open(folder: Path | str) -> Trace:
        """Open the recording in a folder."""
        folder = Path(folder)
        if not folder.is_dir():
            raise TraceError(f"{folder} is no recording: there is no such folder")
        path = folder / HEADER
        if not path.is_symlink() and not path.exists():
            raise TraceError(f"{folder} is no recording: it has no {HEADER}")
        document = parsed(_read_whole(path, _MOST_HEADER_BYTES), path)
        if not isinstance(document, dict) or type(version := document.get("format")) is not int or version < 1:
            raise TraceError(f"{path} is damaged: it does not say its format")
        if version > FORMAT:
            raise TraceError(f"{path} was written by a newer llmdbg (format {version}): update this one to read it")
        header = record_from(document, RunHeader, path)
        addresses = [entry.address for entry in header.stages]
        if len(set(addresses)) < len(addresses):
            raise TraceError(f"{path} is damaged: an address is there twice")
        if not 1 <= header.rows_per_shard <= _MOST_ROWS_PER_SHARD:
            raise TraceError(f"{path} is damaged: rows_per_shard is {header.rows_per_shard}")
        if len(header.ranks) > _MOST_RANKS:
            raise TraceError(f"{path} is damaged: it says that {len(header.ranks):,} ranks ran")
        return Trace(folder, header)

    @property
    def entries(self) -> tuple[StageEntry, ...]:
        """Every stage: those of the header, and those that were met later."""
        return self._index[0]

    def stages(self, token: int) -> tuple[StageRecord, ...]:
        """What the stages of a token returned, in the order in which they completed.

        `token` may be `len(tokens)`, for what is left of one that was interrupted. Empty if there is nothing.
        """
        if token not in self._known:
            if len(self._known) >= _KEPT_TOKENS:
                self._known.popitem(last=False)
            self._known[token] = tuple(self._read(token))
        return self._known[token]

    def stage(self, token: int, address: str, call: int = 0) -> StageRecord | None:
        """What a stage returned for a token; None if it was not recorded. `call` is which time it ran."""
        return next((each for each in self.stages(token) if each.address == address and each.call == call), None)

    def own_tensor(self, rank: int, token: int, address: str, name: str, call: int = 0) -> Tensor | None:
        """A tensor that `rank` held otherwise than rank 0, on the CPU; None if none was kept, or it held the same."""
        if rank not in self._own_tensors:
            from llmdbg.traces.tensor_files import TensorReader

            self._own_tensors[rank] = TensorReader(self.folder, rank)
        return self._own_tensors[rank].read(token, _tensor_name(address, name, call)) if rank else None

    def tensor(self, token: int, address: str, name: str = "output", call: int = 0) -> Tensor | None:
        """A whole tensor, on the CPU; None if it was not kept. Of several, `output` is the first."""
        found = self._tensors.read(token, _tensor_name(address, name, call))
        if found is None and name == "output":
            first = next((each for each in self.tensor_names(token, address, call) if each.startswith("output.")), None)
            return None if first is None else self._tensors.read(token, _tensor_name(address, first, call))
        return found

    def tensor_names(self, token: int, address: str, call: int = 0) -> tuple[str, ...]:
        """The names of the whole tensors that were kept of a stage: `output`, `output.1`, `input.hidden_states`."""
        return self._tensors.names(token, f"{address}#{call}" if call else address)

    @cached_property
    def _tensors(self) -> TensorReader:
        # Imported here: it needs torch, and everything else does not.
        from llmdbg.traces.tensor_files import TensorReader

        return TensorReader(self.folder)

    @cached_property
    def _index(self) -> tuple[tuple[StageEntry, ...], dict[int, _Form]]:
        """The stages in order of their numbers, and the forms by number."""
        entries, forms = list(self.header.stages), {}
        path = self.folder / INDEX
        lines = _read_whole(path, _MOST_INDEX_BYTES).split(b"\n")[:-1]
        for at, line in enumerate(lines, start=1):
            where = f" in line {at}"
            document = parsed(line, path, where)
            if isinstance(document, dict) and "entry" in document:
                entries.append(record_from(document["entry"], StageEntry, path, where))
                if document.get("stage") != len(entries):
                    raise TraceError(f"{path} is damaged{where}: its number is not the next")
            else:
                form = record_from(document, _Form, path, where)
                if min(form.shape, default=0) < 0 or math.prod(form.shape) > _MOST_NUMBERS:
                    raise TraceError(f"{path} is damaged{where}: no tensor has the shape {list(form.shape)}")
                if not _lies_so(form, len(self.header.ranks)):
                    raise TraceError(f"{path} is damaged{where}: {list(form.shape)} cannot be split as it says")
                forms[form.form] = form
        return tuple(entries), forms

    def _read(self, token: int) -> Iterator[StageRecord]:
        first, count = self._place(token)
        if not count:
            return
        columns = self._rows.read(first, count)
        entries, forms = self._index
        ranks = self._of_ranks(token, count, forms)
        calls: dict[int, int] = {}
        for at in range(count):
            number, form = int(columns["stage"][at]), forms.get(int(columns["form"][at]))
            if not 1 <= number <= len(entries) or form is None or int(columns["token"][at]) != token:
                path = self.folder / file_name("stages", (first + at) // self.header.rows_per_shard)
                raise TraceError(f"{path} is damaged: row {first + at:,} is of no stage of token {token}")
            calls[number] = call = calls.get(number, -1) + 1
            yield self._record(entries[number - 1], form, columns, at, call, ranks[at])

    def _of_ranks(self, token: int, count: int, forms: dict[int, _Form]) -> Sequence[RanksRecord | None]:
        """What was recorded of the ranks at each of a token's rows."""
        if not self.header.ranks or token >= len(self.tokens):
            return [None] * count
        return self._ranks.of_token(self.tokens[token], forms)

    def _record(
        self,
        entry: StageEntry,
        form: _Form,
        columns: dict[str, np.ndarray[Any, Any]],
        at: int,
        call: int,
        ranks: RanksRecord | None,
    ) -> StageRecord:
        numbers = None
        if form.statistics:
            low, high, mean, std, norm = (float(each) for each in columns["statistics"][at])
            numbers = ValueStatistics(low, high, mean, std, norm, int(columns["nan"][at]), int(columns["inf"][at]))
        ms, positions = float(columns["ms"][at]), int(columns["positions"][at])
        first = int(columns["first_position"][at])
        if positions > _MOST_POSITIONS or first < 0:
            raise TraceError(f"{self.folder} is damaged: {entry.address} has {positions:,} positions")
        return StageRecord(
            token=int(columns["token"][at]),
            address=entry.address,
            phase=form.phase,
            shape=form.shape,
            dtype=form.dtype,
            device=form.device,
            statistics=numbers,
            hash=int(columns["hash"][at]) if form.hashes else None,
            positions=positions,
            by_position=form.by_position,
            input_width=form.input_width,
            ms=None if math.isnan(ms) else ms,
            call=call,
            tensors=form.tensors,
            source=_InTable(self._positions, first, positions) if form.sketches else None,
            layouts=form.layouts,
            ranks=ranks,
        )

    def _place(self, token: int) -> tuple[int, int]:
        """The first row of a token, and how many it has."""
        if 0 <= token < len(self.tokens):
            record = self.tokens[token]
            return record.first_row, record.rows
        if token != len(self.tokens):
            return 0, 0
        first = 0
        if len(self.tokens):
            record = self.tokens[-1]
            first = record.first_row + record.rows
        return first, self._written_from(first)

    def _written_from(self, first: int) -> int:
        """How many rows were written from `first` on: what is left of a token that was interrupted."""
        shard, count = self.header.rows_per_shard, 0
        while count < _MOST_ROWS_OF_A_TOKEN:
            number, at = divmod(first + count, shard)
            path = self.folder / file_name("stages", number)
            if not path.exists() and not path.is_symlink():
                return count
            left = self._rows.rows_in(number) - at
            if left <= 0:
                return count
            stages = self._rows.read(first + count, left, ["stage"])["stage"]
            written = int(np.argmax(stages == 0)) if (stages == 0).any() else left
            count += written
            if written < left or left + at < shard:
                return count
        return count


def _lies_so(form: _Form, ranks: int) -> bool:
    """Whether an output of this form can lie on so many ranks as it says."""
    for each in () if form.layouts is None else (*form.layouts.takes, *form.layouts.returns):
        if each is not None and each.is_split and (len(each.sizes) != ranks or min(each.sizes, default=-1) < 0):
            return False
    main = form.layouts.returns[0] if form.layouts is not None and form.layouts.returns else None
    if main is None or main.axis is None:
        return True
    return 0 <= main.axis < len(form.shape) and sum(main.sizes) == form.shape[main.axis]


def _tensor_name(address: str, name: str, call: int) -> str:
    return f"{address}#{call}/{name}" if call else f"{address}/{name}"


def _read_whole(path: Path, most: int) -> bytes:
    from llmdbg.files import read_regular

    try:
        return read_regular(path, most, follow=False)
    except OSError as error:
        raise TraceError(f"cannot read {path}: {why_not(error)}") from error


def _line_ends(path: Path) -> tuple[np.ndarray[Any, Any], bool]:
    """Where each whole line ends, 0 before the first: (lines + 1,) int64; and whether anything is left behind them."""
    parts = [np.zeros(1, np.int64)]
    at = 0
    try:
        file = open_regular(path)
        try:
            if os.fstat(file).st_size > _MOST_LINES_BYTES:
                raise TraceError(f"{path} is larger than any recording's")
            while data := os.pread(file, 1 << 20, at):
                parts.append(np.flatnonzero(np.frombuffer(data, np.uint8) == 0x0A).astype(np.int64) + at + 1)
                at += len(data)
        finally:
            os.close(file)
    except OSError as error:
        raise TraceError(f"cannot read {path}: {why_not(error)}") from error
    ends = np.concatenate(parts)
    return ends, bool(ends[-1] < at)
