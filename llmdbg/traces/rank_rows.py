"""The table of ranks: what each rank alone held at a stage, a row for each rank of which there is something to say.

A row is of one of three things. Of most stages there is none: what all ranks hold alike is in the table of stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from llmdbg.errors import TraceError
from llmdbg.probes.value_statistics import ValueStatistics
from llmdbg.traces.records import HeldRecord, NotFiniteRecord, RanksRecord, UnequalRecord
from llmdbg.traces.tables import RANKS, TableReader

if TYPE_CHECKING:
    from pathlib import Path

    from llmdbg.traces.records import TokenRecord
    from llmdbg.traces.rows import OwnRow

_MOST_ROWS_OF_A_TOKEN = 2**22
_MOST_COUNT = 2**32 - 1


class What(IntEnum):
    """What a row of the table of ranks is about."""

    HELD = 0
    """What the rank held of the stage's main output: its part, or its own copy of what should be whole."""
    GIVEN = 1
    """How many values that are not finite were in its part of what the stage was given; nothing else is known."""
    ADDED = 2
    """The same of what it added to a sum over all ranks."""


class RankRow(NamedTuple):
    """A row that is not written yet."""

    row: int
    """Which of the token's rows in the table of stages, from 0."""
    rank: int
    """The rank's number, from 0."""
    what: What
    """What it is about."""
    nan: int
    """How many values are NaN."""
    inf: int
    """How many are infinite."""
    own: OwnRow | None = None
    """What the rank held; None where only the counts are known."""


def rank_columns(rows: Sequence[RankRow], first: int, forms: Sequence[int]) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of some rows. `first` is the token's first row in the table of stages, `forms` the form of each."""
    columns = {column.name: np.zeros(column.shape(len(rows)), column.numpy) for column in RANKS}
    for name in ("rank", "what"):
        columns[name][:] = [getattr(each, name) for each in rows]
    for name in ("nan", "inf"):
        columns[name][:] = [min(getattr(each, name), _MOST_COUNT) for each in rows]
    columns["row"][:] = [first + each.row for each in rows]
    columns["form"][:] = forms
    for at, each in enumerate(rows):
        if each.own is not None:
            columns["statistics"][at], columns["hash"][at] = each.own.statistics, each.own.hash
    return columns


class Form(Protocol):
    """What rows have in common, as the index has it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the rank held."""

    @property
    def dtype(self) -> str:
        """Without `torch.`."""

    @property
    def device(self) -> str:
        """The rank's."""

    @property
    def statistics(self) -> bool:
        """Whether rows have them."""

    @property
    def hashes(self) -> bool:
        """Whether rows have one."""


class RankRows:
    """Reads the table of ranks. Raises TraceError, naming the folder or the file."""

    def __init__(self, folder: Path, ranks: int, rows_per_file: int) -> None:
        self._folder, self._ranks = folder, ranks
        self._table = TableReader(folder, "ranks", RANKS, rows_per_file)

    def of_token(self, token: TokenRecord, forms: Mapping[int, Form]) -> Sequence[RanksRecord | None]:
        """What was recorded of the ranks at each of a token's rows; None of each where nothing was."""
        count = token.rank_rows
        if count is None:
            return [None] * token.rows
        if not 0 <= count <= _MOST_ROWS_OF_A_TOKEN or token.first_rank_row < 0:
            raise self._damaged(token)
        held: list[list[HeldRecord]] = [[] for _ in range(token.rows)]
        not_finite: list[list[NotFiniteRecord]] = [[] for _ in range(token.rows)]
        columns = self._table.read(token.first_rank_row, count) if count else {}
        for at in range(count):
            row, rank = int(columns["row"][at]) - token.first_row, int(columns["rank"][at])
            what, form = int(columns["what"][at]), forms.get(int(columns["form"][at]))
            if not (0 <= row < token.rows and 0 <= rank < self._ranks and what in set(What)):
                raise self._damaged(token)
            if what == What.HELD:
                if form is None:
                    raise self._damaged(token)
                held[row].append(_held(rank, form, columns, at))
            else:
                counts = int(columns["nan"][at]), int(columns["inf"][at])
                not_finite[row].append(NotFiniteRecord(rank, what == What.ADDED, *counts))
        unequal = self._unequal(token)
        return [
            RanksRecord(tuple(held[row]), tuple(not_finite[row]), unequal.get(row, ())) for row in range(token.rows)
        ]

    def _unequal(self, token: TokenRecord) -> dict[int, tuple[str, ...]]:
        found: Sequence[UnequalRecord] = token.unequal
        if any(not 0 <= each.row < token.rows for each in found):
            raise self._damaged(token)
        return {each.row: each.found for each in found}

    def _damaged(self, token: TokenRecord) -> TraceError:
        return TraceError(f"{self._folder} is damaged: what it says of the ranks at token {token.index} makes no sense")


def _held(rank: int, form: Form, columns: Mapping[str, np.ndarray[Any, Any]], at: int) -> HeldRecord:
    numbers = None
    if form.statistics:
        low, high, mean, std, norm = (float(each) for each in columns["statistics"][at])
        numbers = ValueStatistics(low, high, mean, std, norm, int(columns["nan"][at]), int(columns["inf"][at]))
    hashed = int(columns["hash"][at]) if form.hashes else None
    return HeldRecord(rank, form.shape, form.dtype, form.device, numbers, hashed)
