"""`info cost`: how long a forward takes, where the time goes, what uses the memory, and what llmdbg itself adds.

- The current token is rerun several times in a temporary timeline without the user's edits, up to `sample`: without
  any hook, and with hooks at one depth at a time, since a hook slows down whatever encloses it. The kinds of runs
  alternate, so that a machine that heats up affects all alike.
- The model's time comes from the runs without hooks, the times of stages from the others.
- A token's time is the host's, from before its inputs are prepared to after it is chosen, which waits for the device.
  Stages on one GPU are timed with events in its queue. Several GPUs have no common clock, so stages are not timed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.memory import MemoryRow, activations_peak, cache_size, memory
from llmdbg.debugger.inspection.timed_runs import TimedRun, run_to_choice
from llmdbg.display import Displayed
from llmdbg.formatting import milliseconds
from llmdbg.models.stages import ANY_PROCESSOR, Phase, StageKind
from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector

_ROUNDS = 5
_SECONDS = 4.0
_LONG_MS = 5000.0
_MOST_MS_FOR_THE_OTHER_PHASE = 5000.0
_TOKENS_ON = 3
_TIMES_SLOWER = 2.0
_AT_STOPS = "each stop says how long its stage took"


@dataclass(frozen=True, slots=True)
class ForwardTime:
    """How long the model alone takes for a token."""

    phase: Phase
    """Prefill or decode."""
    token: int
    """The generated token, counted from 0."""
    positions: int
    """How many positions the forward runs over."""
    runs: int
    """How often it was measured."""
    ms: float
    """Median of the runs, in milliseconds."""
    fastest: float
    """The fastest run, in milliseconds."""
    slowest: float
    """The slowest run, in milliseconds."""
    tokens_per_second: float
    """Positions per second: the prompt's tokens in a prefill."""


@dataclass(frozen=True, slots=True)
class TimeRow:
    """The time of one kind of stage."""

    name: str
    """A stage's address, its path inside a layer, `layers` or `between them`."""
    count: int
    """How often such a stage ran."""
    ms: float
    """Their time together, in milliseconds."""
    share: float
    """That time as a share of the measured run, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class WatchingCost:
    """What llmdbg adds while it watches: the fastest run with hooks less the fastest without any."""

    watching: str
    """What is watched, in words: `the outline`, `every stage`."""
    stages: int
    """How many stages were watched in one run, repeats included."""
    ms: float
    """The added time of a run, in milliseconds; below `noise`, even below zero, it is too small to measure."""
    us_per_stage: float
    """The added time for each of them, in microseconds."""
    noise: float | None
    """The median run without hooks less the fastest, in milliseconds; None if there was only one run."""


@dataclass(frozen=True, slots=True, repr=False)
class Cost(Displayed):
    """What the current token costs."""

    token: int
    """The generated token that was measured, counted from 0."""
    device: str
    """The model's device, as torch names it."""
    dtype: str
    """The model's dtype, without `torch.`."""
    alone: ForwardTime
    """The model's own time, without hooks."""
    other: ForwardTime | None
    """The same for the other phase; None if not measured."""
    outline: tuple[TimeRow, ...]
    """The stages outside and between the layers, and all layers as one row."""
    parts: tuple[TimeRow, ...]
    """The modules directly inside a layer, each summed over all layers, the longest first."""
    layers: tuple[float, ...]
    """Milliseconds of each layer; 0 where not measured."""
    added: tuple[WatchingCost, ...]
    """What llmdbg adds, for a growing number of watched stages."""
    memory: tuple[MemoryRow, ...]
    """Who holds how many bytes."""
    kv_bytes: int | None
    """Bytes in the KV cache; None if there is none to read."""
    kv_growth: int | None
    """Bytes that one more token adds to it; None if unknown."""
    notes: tuple[str, ...]
    """What limits these numbers, a sentence each."""


def ask(inspector: Inspector, _arguments: str = "") -> Cost:
    """Answer `info cost`.

    Raises CommandError if the forward has failed, so that the run has no position, or the debuggee cannot go back.
    """
    token, held, size = inspector.event.token, memory(inspector), cache_size(inspector)
    with inspector.replay.elsewhere(_AT_STOPS):
        kinds = _kinds(inspector)
        rounds, peak = _measured(inspector, token, kinds)
        alone = _timed(inspector, token, [each.ms for each in rounds[0]])
        other = _other_phase(inspector, token, alone)
    outline, parts = _typical(rounds[1]), _typical(rounds[2])
    answer = Cost(
        token=token,
        device=str(inspector.model.device),
        dtype=dtype_name(inspector.model.dtype),
        alone=alone,
        other=other,
        outline=_outline_rows(inspector, outline),
        parts=_part_rows(inspector, parts),
        layers=tuple(sum(outline.laps.get(each.address, [])) for each in inspector.anatomy.layers()),
        added=tuple(_added(kind, each, alone) for kind, each in zip(kinds[1:], rounds[1:], strict=True)),
        memory=(*held, *peak),
        kv_bytes=None if size is None else size[0],
        kv_growth=None if size is None else size[1],
        notes=_notes(inspector, other, rounds),
    )
    inspector.asked.last_answers["cost"] = answer
    return answer


def _kinds(inspector: Inspector) -> tuple[tuple[str, frozenset[str]], ...]:
    """The kinds of runs: a name, and the stages watched."""
    anatomy = inspector.anatomy
    outermost = frozenset(each.address for each in anatomy.stages if not anatomy.enclosing(each))
    inside = frozenset(
        each.address
        for each in anatomy.stages
        if (around := anatomy.enclosing(each)) and around[0].kind is StageKind.LAYER
    )
    every = frozenset(each.address for each in anatomy.stages) | {ANY_PROCESSOR.address}
    outline = outermost | {ANY_PROCESSOR.address}
    return (("nothing", frozenset()), ("the outline", outline), ("the parts of layers", inside), ("every stage", every))


def _measured(
    inspector: Inspector, token: int, kinds: tuple[tuple[str, frozenset[str]], ...]
) -> tuple[list[list[TimedRun]], tuple[MemoryRow, ...]]:
    """The runs of each kind, and the GPU memory that a run without hooks needs.

    The first run warms caches. It counts only if it takes too long to repeat.
    """
    began = time.perf_counter()
    with activations_peak(inspector) as peak:
        first = run_to_choice(inspector, token, ())
    runs: list[list[TimedRun]] = [[] for _ in kinds]
    if first.ms > _LONG_MS:
        runs[0].append(first)
    for number in range(_ROUNDS):
        if number and time.perf_counter() - began > _SECONDS:
            break
        for index, (_, watched) in enumerate(kinds):
            if index or first.ms <= _LONG_MS:
                runs[index].append(run_to_choice(inspector, token, watched))
    return runs, tuple(peak)


def _timed(inspector: Inspector, token: int, runs: list[float]) -> ForwardTime:
    positions = 1 if token else len(inspector.prompt.ids)
    typical = median(runs)
    return ForwardTime(
        phase=Phase.DECODE if token else Phase.PREFILL,
        token=token,
        positions=positions,
        runs=len(runs),
        ms=typical,
        fastest=min(runs),
        slowest=max(runs),
        tokens_per_second=positions / typical * 1e3,
    )


def _other_phase(inspector: Inspector, token: int, alone: ForwardTime) -> ForwardTime | None:
    """The other phase's time, without hooks. None if it would take long or cannot be measured from here."""
    if token:
        if alone.ms * len(inspector.prompt.ids) > _MOST_MS_FOR_THE_OTHER_PHASE:
            return None
        return _timed(inspector, 0, [run_to_choice(inspector, 0, ()).ms for _ in range(2)])
    if alone.ms * _TOKENS_ON > _MOST_MS_FOR_THE_OTHER_PHASE:
        return None
    # The kept timeline must not gain a token, so each later token is reached from the prompt again.
    runs = [run_to_choice(inspector, 0, (), until=last) for last in range(1, _TOKENS_ON + 1)]
    decodes = [each for each in runs if each.token > 0]
    return _timed(inspector, decodes[-1].token, [each.ms for each in decodes]) if decodes else None


def _typical(runs: list[TimedRun]) -> TimedRun:
    """The run with the median time."""
    return sorted(runs, key=lambda each: each.ms)[(len(runs) - 1) // 2]


def _outline_rows(inspector: Inspector, run: TimedRun) -> tuple[TimeRow, ...]:
    """The outermost stages in order, all layers in one row, and the time between them."""
    if not run.laps:
        return ()
    layers = {each.address for each in inspector.anatomy.layers()}
    grouped: dict[str, list[float]] = {}
    for address, laps in run.laps.items():
        grouped.setdefault("layers" if address in layers else address, []).extend(laps)
    rows = [_row(name, laps, run.ms) for name, laps in grouped.items()]
    between = run.ms - sum(each.ms for each in rows)
    return (*rows, TimeRow("between them", 0, between, between / run.ms))


def _part_rows(inspector: Inspector, run: TimedRun) -> tuple[TimeRow, ...]:
    """The modules directly inside the layers, by their path there, the longest time first."""
    grouped: dict[str, list[float]] = {}
    for address, laps in run.laps.items():
        grouped.setdefault(address.partition(".")[2], []).extend(laps)
    return tuple(sorted((_row(name, laps, run.ms) for name, laps in grouped.items()), key=lambda each: -each.ms))


def _row(name: str, laps: list[float], whole: float) -> TimeRow:
    return TimeRow(name, len(laps), sum(laps), sum(laps) / whole)


def _added(kind: tuple[str, frozenset[str]], runs: list[TimedRun], alone: ForwardTime) -> WatchingCost:
    stages, more = runs[0].stages, min(each.ms for each in runs) - alone.fastest
    noise = alone.ms - alone.fastest if alone.runs > 1 else None
    return WatchingCost(kind[0], stages, more, more / max(1, stages) * 1e3, noise)


def _notes(inspector: Inspector, other: ForwardTime | None, rounds: list[list[TimedRun]]) -> tuple[str, ...]:
    notes = []
    if inspector.run.edits.addresses():
        notes.append("measured without your edits")
    if not rounds[1][0].laps:
        notes.append("several GPUs have no common clock: stages are not timed")
    if other is None:
        phase = Phase.PREFILL if inspector.event.token else Phase.DECODE
        notes.append(f"the {phase} is not measured from here: ask again during the {phase}")
    # Watching every stage may well double the time. Watching fewer should not.
    times = [each.ms for runs in rounds[:-1] for each in runs]
    if max(times) > _TIMES_SLOWER * min(times):
        between = f"between {min(times):.1f} and {milliseconds(max(times), 1)}"
        notes.append(f"the same forward took {between}: too noisy to rely on, is the machine busy?")
    return tuple(notes)
