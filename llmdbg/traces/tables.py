"""Tables of numbers in files: appended to while a run goes on, valid at any moment, read in pieces.

Each file of a table is a safetensors file with one tensor for each column, of a fixed number of rows. It has its whole
size from the start, so it is valid before it is full, and takes only as much of the disk as has been written. Rows that
were never written are 0. Closing cuts the last file down to its rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmdbg.errors import TraceError
from llmdbg.files import private_replacement, why_not, write_private
from llmdbg.traces.safetensors_files import FileHeader, header_bytes, open_regular, read_header


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    """Its name, and that of its tensor."""
    dtype: str
    """As safetensors writes it: `I64`, `I32`, `U32`, `F32`."""
    width: int = 0
    """How many numbers a row has in it: its tensor is (rows, width); 0 for one number, and a tensor (rows,)."""

    @property
    def numpy(self) -> np.dtype[Any]:
        """As NumPy calls the dtype."""
        return np.dtype(_NUMPY[self.dtype])

    @property
    def bytes(self) -> int:
        """Bytes in a row."""
        return self.numpy.itemsize * max(1, self.width)

    def shape(self, rows: int) -> tuple[int, ...]:
        """The shape of so many rows."""
        return (rows, self.width) if self.width else (rows,)


_NUMPY = {"I64": "<i8", "I32": "<i4", "U32": "<u4", "F32": "<f4"}

STAGES = (
    Column("hash", "I64"),
    Column("first_position", "I64"),
    Column("stage", "I32"),
    Column("token", "I32"),
    Column("form", "I32"),
    Column("positions", "U32"),
    Column("nan", "U32"),
    Column("inf", "U32"),
    Column("ms", "F32"),
    Column("statistics", "F32", 5),
)
"""A row for each stage that ran. `stage` and `form` count from 1; 0 is a row that was never written."""
RANKS = (
    Column("row", "I64"),
    Column("hash", "I64"),
    Column("rank", "I32"),
    Column("what", "I32"),
    Column("form", "I32"),
    Column("nan", "U32"),
    Column("inf", "U32"),
    Column("statistics", "F32", 5),
)
"""A row for what one rank alone held of the stage of a row: see `rank_rows.py`."""
POSITIONS = (Column("hash", "I64"), Column("sketch", "F32", 16))
"""A row for each position of each stage."""


def file_name(table: str, number: int) -> str:
    """The name of a table's file."""
    return f"{table}-{number:05d}.safetensors"


class TableWriter:
    """Appends rows to a table. `written` says how many it has. Raises OSError."""

    def __init__(self, folder: Path, name: str, columns: Sequence[Column], rows_per_file: int) -> None:
        self.written = 0
        self._folder, self._name, self._rows = folder, name, rows_per_file
        self._columns = {column.name: column for column in columns}
        self._file: int | None = None
        self._starts: dict[str, int] = {}

    def append(self, count: int, values: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Append `count` rows. Columns are written in the order in which they are given; others stay 0."""
        done = 0
        while done < count:
            if self._file is None:
                self._open()
            assert self._file is not None
            at = self.written % self._rows
            now = min(count - done, self._rows - at)
            for name, column_values in values.items():
                column = self._columns[name]
                part = np.ascontiguousarray(column_values[done : done + now], dtype=column.numpy)
                _write_all(self._file, part.data.cast("B"), self._starts[column.name] + at * column.bytes)
            done += now
            self.written += now
            if self.written % self._rows == 0:
                self._close_file()

    def close(self) -> None:
        """Cut the last file down to the rows that it has."""
        if self._file is None:
            return
        rows = self.written % self._rows
        parts = [header_bytes(_entries(self._columns.values(), rows))]
        for column in self._columns.values():
            parts.append(os.pread(self._file, rows * column.bytes, self._starts[column.name]))
        write_private(self._path(), b"".join(parts))
        self._close_file()

    def _path(self) -> Path:
        return self._folder / file_name(self._name, self.written // self._rows)

    def _open(self) -> None:
        header = header_bytes(_entries(self._columns.values(), self._rows))
        at = len(header)
        self._starts = {}
        for column in self._columns.values():
            self._starts[column.name] = at
            at += self._rows * column.bytes
        # It gets its name once it is whole.
        with private_replacement(self._path()) as new:
            self._file = os.open(new, os.O_RDWR | os.O_CLOEXEC)
            _write_all(self._file, memoryview(header), 0)
            os.ftruncate(self._file, at)

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class TableReader:
    """Reads rows of a table, whatever its files hold. Raises TraceError, naming the file."""

    def __init__(self, folder: Path, name: str, columns: Sequence[Column], rows_per_file: int) -> None:
        self._folder, self._name, self._rows = folder, name, rows_per_file
        self._columns = {column.name: column for column in columns}
        self._headers: dict[int, FileHeader] = {}

    def rows_in(self, number: int) -> int:
        """How many rows a file has room for."""
        return self._header(number).entries[next(iter(self._columns))].shape[0]

    def read(self, first: int, count: int, names: Sequence[str] | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Rows from `first` on, by column."""
        wanted = [self._columns[name] for name in names or self._columns]
        parts: dict[str, list[np.ndarray[Any, Any]]] = {column.name: [] for column in wanted}
        while count > 0:
            number, at = divmod(first, self._rows)
            now = min(count, self._rows - at)
            for column, values in zip(wanted, self._read(number, at, now, wanted), strict=True):
                parts[column.name].append(values)
            first, count = first + now, count - now
        empty = {column.name: np.zeros(column.shape(0), column.numpy) for column in wanted}
        return {
            name: (each[0] if len(each) == 1 else np.concatenate(each)) if each else empty[name]
            for name, each in parts.items()
        }

    def _read(self, number: int, at: int, count: int, columns: Sequence[Column]) -> list[np.ndarray[Any, Any]]:
        header, path = self._header(number), self._folder / file_name(self._name, number)
        if at + count > self.rows_in(number):
            raise TraceError(f"{path} is damaged: of its {self.rows_in(number):,} rows, row {at + count:,} is needed")
        found = []
        try:
            file = open_regular(path)
            try:
                for column in columns:
                    start = header.start + header.entries[column.name].first + at * column.bytes
                    data = os.pread(file, count * column.bytes, start)
                    if len(data) < count * column.bytes:
                        raise TraceError(f"{path} is truncated")
                    found.append(np.frombuffer(data, column.numpy).reshape(column.shape(count)))
            finally:
                os.close(file)
        except OSError as error:
            raise TraceError(f"cannot read {path}: {why_not(error)}") from error
        return found

    def _header(self, number: int) -> FileHeader:
        if number not in self._headers:
            path = self._folder / file_name(self._name, number)
            header = read_header(path)
            rows = {entry.shape[0] if entry.shape else -1 for entry in header.entries.values()}
            if len(rows) != 1 or not 0 <= (count := rows.pop()) <= self._rows:
                raise TraceError(f"{path} is damaged: its columns do not have one number of rows")
            for name, column in self._columns.items():
                entry = header.entries.get(name)
                if entry is None or entry.dtype != column.dtype or entry.shape != column.shape(count):
                    raise TraceError(f"{path} is damaged: it has no column {name} of {column.dtype}")
            self._headers[number] = header
        return self._headers[number]


def _entries(columns: Iterable[Column], rows: int) -> dict[str, tuple[str, tuple[int, ...], int]]:
    return {column.name: (column.dtype, column.shape(rows), rows * column.bytes) for column in columns}


def _write_all(file: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written
