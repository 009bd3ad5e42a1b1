"""Writes a recording while the run goes on, in bounded memory.

What a stage returns is copied, and reduced to numbers at the end of the token, or earlier if the copies grow large:
then many stages share each kernel. Everything is written before the token's line is; so whatever ends the process, the
recording is valid up to its last token, and up to its last stage but for those of the last half second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import TraceError, UsageError
from llmdbg.files import FILE_MODE, FOLDER_MODE, why_not, write_private
from llmdbg.probes.statistics import device_name, dtype_name
from llmdbg.traces.json_text import text_of
from llmdbg.traces.pending import PendingOutputs, Slot
from llmdbg.traces.rank_rows import RankRow, rank_columns
from llmdbg.traces.records import FORMAT, RunHeader, StageEntry, StageRecord, TokenRecord
from llmdbg.traces.reductions import can_be_reduced
from llmdbg.traces.rows import Milliseconds, OwnRow, ReducedGroup, Row, own_rows, table_columns
from llmdbg.traces.sketch import by_position, position_dimension
from llmdbg.traces.tables import POSITIONS, RANKS, STAGES, TableReader, TableWriter
from llmdbg.traces.tensor_files import Keep, TensorWriter, input_width, named_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.stages import Phase, Stage
    from llmdbg.traces.records import StageLayouts

MOST_PENDING = 16 * 2**20
"""Bytes of outputs that wait to be reduced together."""
_LONGEST_WAIT = 0.5  # seconds
_NUMBERS = ("statistics", "hashes", "sketches")
_FORM = ("shape", "dtype", "device", "phase", "by_position", *_NUMBERS, "tensors", "input_width", "layouts")
_NOT_WHOLE = {"by_position": False, "sketches": False, "tensors": (), "input_width": None, "layouts": None}
"""What the form of a rank's own does not say."""
_MAY_BE_NONE = ("input_width", "layouts")
HEADER, TOKENS, INDEX = "trace.json", "tokens.jsonl", "index.jsonl"


class TraceWriter:
    """Writes a recording into a new or empty folder. `keep` says which whole tensors are kept.

    `stage` and `token` are called in the order in which things happen; `close` ends the recording. Raises UsageError
    for a folder that is not empty, and TraceError, naming the file, where something cannot be written.
    """

    def __init__(self, folder: Path, header: RunHeader, keep: Keep | None = None) -> None:
        self.folder = folder
        self.header = header
        self.tokens = 0
        self._keep = keep or Keep()
        make_folder(folder)
        self._stages = {entry.address: number for number, entry in enumerate(header.stages, start=1)}
        self._forms: dict[Any, int] = {}
        self._rows: list[Row] = []
        self._slots: dict[str, Slot] = {}
        self._pending = PendingOutputs()
        self._reduced: list[ReducedGroup] = []
        self._since = 0.0
        self._first_row = 0
        self._closed = False
        rows = header.rows_per_shard
        self._table = TableWriter(folder, "stages", STAGES, rows)
        self._positions = TableWriter(folder, "positions", POSITIONS, rows)
        self._ranks = TableWriter(folder, "ranks", RANKS, rows)
        self._written = TableReader(folder, "stages", STAGES, rows)
        self._tensors = TensorWriter(folder)
        self._own_tensors: dict[int, TensorWriter] = {}
        self._kept: dict[str, Tensor] = {}
        self._lines: dict[str, int] = {}
        self._guarded(self._begin)

    def stage(
        self,
        stage: Stage,
        output: Any,
        *,
        token: int,
        phase: Phase,
        length: int,
        batch: int = 1,
        ms: float | Milliseconds | None = None,
        inputs: tuple[tuple[Any, ...], Mapping[str, Any]] = ((), {}),
        layouts: StageLayouts | None = None,
    ) -> dict[str, Tensor]:
        """Record what a stage has just returned, in a forward over `batch` sequences of `length` positions.

        `ms` may be a function that waits for the device. `inputs` are the module's arguments. Copies what it needs, and
        on a GPU does not wait. A stage that returns no tensor is left out. `layouts` say how its tensors lie on ranks.
        Returns the whole tensors that are kept, by their whole names.
        """
        tensor = output if type(output) is torch.Tensor else main_tensor(output)
        self._kept = {}
        if tensor is None:
            return self._kept
        if tensor.requires_grad:
            tensor = tensor.detach()
        slot = self._slots.get(stage.address)
        if slot is None or self._keep.any or not slot.fits(tensor, phase, length, batch):
            slot = self._new_slot(stage, token, output, tensor, phase, (length, batch), inputs, layouts)
        rows, pending = self._rows, self._pending
        pending.add(slot, len(rows), tensor)
        rows.append(Row(slot.number, token, slot.form, ms))
        if pending.bytes > MOST_PENDING or self._tensors.pending > MOST_PENDING:
            self._reduce()
            if slot.on_cpu or self._tensors.pending > MOST_PENDING:
                self.flush()
        elif slot.on_cpu and perf_counter() - self._since > _LONGEST_WAIT:
            self.flush()
        return self._kept

    def record(self, record: StageRecord, stage: Stage) -> None:
        """Record a stage of which numbers are known and no tensor is, as from another program's dump."""
        form = self._form_of(
            {
                "shape": record.shape,
                "dtype": record.dtype,
                "device": record.device,
                "phase": record.phase,
                "by_position": record.by_position,
                "statistics": record.statistics is not None,
                "hashes": record.hash is not None,
                "sketches": record.source is not None,
                "tensors": record.tensors,
                "input_width": record.input_width,
                "layouts": None,
            }
        )
        self._rows.append(Row(self._number(stage), record.token, form, record.ms, record))
        if len(self._rows) > self.header.rows_per_shard:
            self.flush()

    def keep_tensors(self, token: int, address: str, named: Mapping[str, Tensor]) -> None:
        """Keep whole tensors of a stage, by names as `StageRecord.tensors` has them."""
        self._tensors.add(token, address, named)
        if self._tensors.pending > MOST_PENDING:
            self._guarded(self._tensors.flush)

    def unfinished(self) -> list[OwnRow]:
        """The rows of stages since the last token, in order. Waits for the device."""
        self.flush()
        columns = self._written.read(self._first_row, self._table.written - self._first_row)
        # Forms are numbered in the order in which they were met.
        keys = [dict(zip(_FORM, each, strict=True)) for each in self._forms]
        return own_rows(columns, [keys[form - 1] for form in columns["form"]])

    def held(self, rows: Sequence[RankRow]) -> tuple[int, int]:
        """Record what ranks held at stages since the last token. Returns the first of their rows, and how many."""
        first = self._ranks.written
        if rows:
            forms = [0 if each.own is None else self._form_of(each.own.form() | _NOT_WHOLE) for each in rows]
            columns = rank_columns(rows, self._first_row, forms)
            self._guarded(lambda: self._ranks.append(len(rows), columns))
        return first, len(rows)

    def own_tensor(self, rank: int, token: int, name: str, tensor: Tensor) -> None:
        """Keep a tensor that a rank held otherwise than rank 0, under its whole name, `ADDRESS/NAME`."""
        writer = self._own_tensors.setdefault(rank, TensorWriter(self.folder, rank))
        writer.add_named(token, name, tensor)
        if writer.pending > MOST_PENDING:
            self._guarded(writer.flush)

    def token(self, record: TokenRecord) -> None:
        """Record that a token is complete: everything that its forward has left, and then its line."""
        self.flush()
        rows = self._table.written - self._first_row
        self._write_line(TOKENS, replace(record, first_row=self._first_row, rows=rows))
        self._first_row = self._table.written
        self.tokens += 1

    @property
    def rows(self) -> int:
        """How many outputs of stages are written."""
        return self._table.written

    def flush(self) -> None:
        """Write down every stage so far. Waits for the device."""
        self._reduce()
        rows, self._rows = self._rows, []
        reduced, self._reduced = self._reduced, []
        if rows:
            self._guarded(lambda: self._write_rows(rows, reduced))
        for writer in (self._tensors, *self._own_tensors.values()):
            self._guarded(writer.flush)
        self._since = perf_counter()

    def close(self) -> None:
        """End the recording. What is known of an unfinished token is kept."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        finally:
            self._guarded(self._end)

    def _begin(self) -> None:
        write_private(self.folder / HEADER, text_of(self.header, format=FORMAT).encode() + b"\n")
        for name in (INDEX, TOKENS):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lines[name] = os.open(self.folder / name, flags, FILE_MODE)
        self._since = perf_counter()

    def _end(self) -> None:
        for table in (self._positions, self._ranks, self._table):
            table.close()
        while self._lines:
            os.close(self._lines.popitem()[1])

    def _number(self, stage: Stage) -> int:
        number = self._stages.get(stage.address)
        if number is None:
            entry = StageEntry(stage.kind, stage.address, stage.module, None, stage.layer, stage.depth)
            number = self._add_stage(entry)
        return number

    def _add_stage(self, entry: StageEntry) -> int:
        number = self._stages[entry.address] = len(self._stages) + 1
        self._write_line(INDEX, {"stage": number, "entry": entry})
        return number

    def _new_slot(
        self,
        stage: Stage,
        token: int,
        output: Any,
        tensor: Tensor,
        phase: Phase,
        size: tuple[int, int],
        inputs: tuple[tuple[Any, ...], Mapping[str, Any]],
        layouts: StageLayouts | None,
    ) -> Slot:
        """A slot for a stage, the form of whose output is another than before. Keeps the whole tensors."""
        keep = self._keep
        names = self._keep_tensors(stage.address, token, output, tensor, inputs, size) if keep.any else ()
        form = self._form(tensor, phase, size, names, input_width(*inputs, *size), layouts)
        slot = self._slots.get(stage.address)
        if slot is None or slot.form != form or not slot.fits(tensor, phase, *size):
            slot = self._pending.slot(self._number(stage), form, tensor, phase, *size)
            self._slots[stage.address] = slot
        return slot

    def _form(
        self,
        tensor: Tensor,
        phase: Phase,
        size: tuple[int, int],
        names: tuple[str, ...],
        width: int | None,
        layouts: StageLayouts | None,
    ) -> int:
        shape, known = tuple(tensor.shape), can_be_reduced(tensor)
        by_position = position_dimension(shape, *size) is not None
        fields = {
            "shape": shape,
            "dtype": dtype_name(tensor.dtype),
            "device": device_name(tensor.device),
            "phase": phase,
            "by_position": by_position,
            "statistics": known,
            "hashes": known,
            "sketches": known,
            "tensors": names,
            "input_width": width,
            "layouts": layouts,
        }
        return self._form_of(fields)

    def _form_of(self, fields: dict[str, Any]) -> int:
        key = tuple(fields[name] for name in _FORM)
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = len(self._forms) + 1
            known = {name: each for name, each in fields.items() if name not in _MAY_BE_NONE or each is not None}
            self._write_line(INDEX, {"form": form} | known)
        return form

    def _without_numbers(self, form: int) -> int:
        """The form of outputs like those of `form`, of which nothing else is known."""
        key = next(key for key, number in self._forms.items() if number == form)
        return self._form_of(dict(zip(_FORM, key, strict=True)) | dict.fromkeys(_NUMBERS, False))

    def _keep_tensors(
        self,
        address: str,
        token: int,
        output: Any,
        tensor: Tensor,
        inputs: tuple[tuple[Any, ...], Mapping[str, Any]],
        size: tuple[int, int],
    ) -> tuple[str, ...]:
        """Keep what is to be kept of a stage. Returns the names."""
        if not self._keep.wants(address):
            return ()
        if self._keep.last:
            if not can_be_reduced(tensor):
                return ()
            dimension = position_dimension(tuple(tensor.shape), *size)
            named = {"last": by_position(tensor.detach()[None], dimension)[0, -1].clone()}
        else:
            found = named_tensors("output", output)
            if self._keep.inputs:
                found |= named_tensors("input", inputs[0]) | named_tensors("input", dict(inputs[1]))
            named = {name: each.detach().clone() for name, each in found.items()}
        self._kept = self._tensors.add(token, address, named)
        return tuple(named)

    def _reduce(self) -> None:
        """Reduce the outputs that wait, on their device."""
        reduced, lost = self._pending.reduce()
        self._reduced += reduced
        for at in lost:
            self._rows[at] = self._rows[at]._replace(form=self._without_numbers(self._rows[at].form))

    def _write_rows(self, rows: list[Row], reduced: list[ReducedGroup]) -> None:
        columns, hashes, sketches = table_columns(rows, reduced, self._positions.written)
        if len(hashes):
            self._positions.append(len(hashes), {"hash": hashes, "sketch": sketches})
        self._table.append(len(rows), columns)

    def _write_line(self, name: str, value: Any) -> None:
        data = memoryview(text_of(value).encode() + b"\n")

        def write() -> None:
            left = data
            while left:
                left = left[os.write(self._lines[name], left) :]

        self._guarded(write)

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise TraceError(f"cannot write the recording {self.folder}: {why_not(error)}") from error


def make_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter. Raises UsageError if it is there already, and not empty."""
    try:
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise UsageError(f"{folder} is there already, and no empty folder: name a new one")
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise TraceError(f"cannot make the folder {folder}: {why_not(error)}") from error
