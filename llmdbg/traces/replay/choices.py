"""What a recording says of a run's tokens without their stages: read in one pass, before anything is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.errors import TraceError
from llmdbg.traces.reader import TOKENS
from llmdbg.traces.safetensors_files import open_regular

if TYPE_CHECKING:
    from llmdbg.traces.reader import Trace

_PIECE = 2**20


class _Candidate(msgspec.Struct):
    id: int
    text: str


class _Scores(msgspec.Struct):
    candidates: list[_Candidate] = []


class _Line(msgspec.Struct):
    index: int
    id: int | None = None
    text: str | None = None
    prob: float | str | None = None
    scores: list[_Scores] = []
    force: int | None = None
    ban: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class RecordedChoices:
    """The tokens that can be read, from the first to where the recording ends or is damaged."""

    ids: tuple[int | None, ...]
    """What was chosen; None where no choice was seen."""
    texts: dict[int, str]
    """The texts of the ids among them, and of all candidates."""
    overrides: dict[int, TokenOverrides]
    """What the user had forced and banned, by token."""
    not_finite_since: int | None
    """The first token whose scores gave no probabilities."""
    damage: str
    """Why the tokens end before the recording does; empty if they do not."""


def read_choices(trace: Trace) -> RecordedChoices:
    """Read what was chosen. Nothing is raised for a damaged recording: what lies before the damage is returned."""
    ids: list[int | None] = []
    texts: dict[int, str] = {}
    overrides: dict[int, TokenOverrides] = {}
    since: int | None = None
    damage = ""
    decoder = msgspec.json.Decoder(_Line)
    path = trace.folder / TOKENS
    try:
        for at, raw in enumerate(_lines(trace)):
            line = decoder.decode(raw)
            if line.index != at:
                raise ValueError("its tokens are not in order")
            ids.append(line.id)
            for scores in line.scores:
                for each in scores.candidates:
                    texts.setdefault(each.id, each.text)
            if line.id is not None and line.text is not None:
                texts[line.id] = line.text
            if line.force is not None or line.ban:
                overrides[at] = TokenOverrides(line.force, line.ban)
            if since is None and line.id is not None and line.scores and not isinstance(line.prob, float):
                since = at
    except (ValueError, OverflowError) as error:
        damage = f"{path} is damaged in line {len(ids) + 1}: {' '.join(str(error).split())[:160]}"
    except (OSError, TraceError) as error:
        damage = str(error)
    return RecordedChoices(tuple(ids), texts, overrides, since, damage)


def _lines(trace: Trace) -> Iterator[bytes]:
    """The whole lines of the file of tokens: a last one without its end is not one."""
    file = open_regular(trace.folder / TOKENS)
    try:
        left, at = b"", 0
        for _ in range(len(trace.tokens)):
            while (end := left.find(b"\n")) < 0:
                more = os.pread(file, _PIECE, at)
                if not more:
                    return
                left, at = left + more, at + len(more)
            yield left[:end]
            left = left[end + 1 :]
    finally:
        os.close(file)
