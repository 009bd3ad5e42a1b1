"""`info ranks`: how the value here lies on the ranks, what each of them holds, and whether it is what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.nonfinite_ranks import rank_sources
from llmdbg.display import Displayed
from llmdbg.engine.lockstep import InLockstep
from llmdbg.errors import CommandError
from llmdbg.formatting import counted, printable

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.probes.value_statistics import ValueStatistics
    from llmdbg.traces.replay.recorded_ranks import RecordedRanks

TOPIC_ARGUMENTS = ("", "weights", "cache")


@dataclass(frozen=True, slots=True)
class RankRow:
    """One rank at a stop."""

    rank: int
    """Its number, from 0."""
    part: str
    """What it holds of the stage's main output, in words; empty where that holds no tensor."""
    numbers: ValueStatistics | None
    """Statistics of that; None where there is no tensor."""
    device: str
    """Its device, as torch names it."""


@dataclass(frozen=True, slots=True, repr=False)
class RankTable(Displayed):
    """All ranks at a stop."""

    stage: str
    """The stage's address."""
    layout: str
    """How what it returned lies on the ranks, in words."""
    takes: str
    """How what it was given lies on the ranks, in words."""
    rows: tuple[RankRow, ...]
    """In the order of the ranks."""
    unequal: tuple[str, ...]
    """What should be equal on all ranks and is not, in sentences."""
    sources: tuple[str, ...]
    """Which ranks' own parts were not finite before a sum over all ranks spread that, in sentences."""


@dataclass(frozen=True, slots=True, repr=False)
class RankCheck(Displayed):
    """What each rank alone holds, against what it should be."""

    what: str
    """What was compared with what, in a sentence."""
    found: tuple[str, ...]
    """What differs, in sentences that name the rank and the value, the first one first."""


def ask(inspector: Inspector, arguments: str) -> RankTable | RankCheck | str:
    """Answer `info ranks [weights | cache]`. Raises CommandError for anything else."""
    debuggee, word = inspector.debuggee, arguments.strip()
    if word not in TOPIC_ARGUMENTS:
        raise CommandError(f"info ranks takes weights, cache or nothing, not {word!r}")
    # Imported here: it needs torch, and the screen imports this before it does.
    from llmdbg.traces.replay.recorded_ranks import RecordedRanks

    if isinstance(debuggee, RecordedRanks):
        return _recorded(inspector, debuggee, word)
    if not isinstance(debuggee, InLockstep):
        return in_one_process(debuggee.name)
    if word == "weights":
        return _weights(debuggee)
    return _cache(inspector, debuggee) if word == "cache" else _here(inspector, debuggee)


def in_one_process(name: str) -> str:
    """What to say of a debuggee that has no ranks."""
    return f"{printable(name)} runs in one process: `torchrun --nproc-per-node N -m llmdbg …` starts ranks"


def _here(inspector: Inspector, debuggee: InLockstep) -> RankTable:
    from llmdbg.probes.statistics import device_name, measure, read

    event = inspector.run.event
    part, words = debuggee.part(event)
    numbers = None if part is None or not part.numel() or not part.is_floating_point() else read([measure(part)])[0]
    mine = (words, numbers, device_name(inspector.model.device))
    rows = tuple(RankRow(rank, *each) for rank, each in enumerate(debuggee.everyones(mine)))
    takes, returns = debuggee.layouts(event)
    unequal = tuple(debuggee.differences(event))
    address = event.stage.address
    return RankTable(address, returns, takes, rows, unequal, rank_sources(debuggee, event).in_words(address))


def _recorded(inspector: Inspector, debuggee: RecordedRanks, word: str) -> RankTable:
    """What was recorded of the ranks at a stage. Raises CommandError where nothing was."""
    if word:
        raise CommandError(f"no rank's {word} are in a recording: `info ranks {word}` looks at the ranks as they run")
    event = inspector.run.event
    stage, ranks = event.stage.address, event.known.record.ranks
    if ranks is None:
        raise CommandError(f"what each rank held at {stage} was not recorded: its token was not completed")
    rows = tuple(
        RankRow(rank, words, held.statistics if held is not None and _is_real(held.dtype) else None, device)
        for rank, ((words, held), device) in enumerate(zip(debuggee.holdings(event), debuggee.devices, strict=True))
    )
    takes, returns = debuggee.layouts(event)
    sources = rank_sources(debuggee, event).in_words(stage)
    return RankTable(stage, returns, takes, rows, tuple(debuggee.differences(event)), sources)


def _is_real(dtype: str) -> bool:
    """Whether a dtype, as torch names it, is of real numbers with a point."""
    return dtype.startswith(("float", "bfloat"))


def _weights(debuggee: InLockstep) -> RankCheck:
    everyones = debuggee.everyones(debuggee.unlike_files())
    found = tuple(sentence for unlike, _, _ in everyones for sentence in unlike)
    (_, compared, skipped), *_ = everyones
    left = f"; {counted(skipped, 'weight')} stored otherwise cannot be compared" if skipped else ""
    return RankCheck(f"each rank's part of {counted(compared, 'weight')} against the files{left}", found)


def _cache(inspector: Inspector, debuggee: InLockstep) -> RankCheck:
    branch, place = inspector.run.branches.current, inspector.run.place
    if branch.edits.list():
        raise CommandError("this branch has edits, which change what the cache should hold: `switch main` first")
    ids = (*inspector.prompt.ids, *inspector.run.generated_ids())
    # The newest id has been chosen here, and is fed only by the next forward.
    fed = ids[:-1] if inspector.event.chosen is not None else ids
    held = debuggee.held()
    with inspector.branching.left():
        everyones = debuggee.everyones(debuggee.unlike_ids(fed, held))
    inspector.replay.come_back_to(place)
    # The nearest to the cause first: the lowest layer, of whichever rank.
    found = sorted((layer, sentence) for unlike in everyones for layer, sentence in unlike)
    return RankCheck(
        f"each rank's part of the cache against one of {counted(len(fed), 'id')} computed anew",
        tuple(sentence for _, sentence in found),
    )
