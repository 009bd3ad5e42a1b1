"""A row of a batch held against its single run: the whole of it, and its verdict in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.alone import measure_row
from llmdbg.debugger.comparison.judge import TIMES_ARITHMETIC_FLOOR
from llmdbg.debugger.comparison.row_causes import Found, find_causes, sets_it_apart
from llmdbg.debugger.comparison.row_outcome import RowCause, RowComparison, RowParting, RowVerdict
from llmdbg.formatting import counted, listed, significant

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.comparison.alone import MeasuredRow
    from llmdbg.debugger.comparison.row_outcome import RowPositions, RowStage
    from llmdbg.engine.debuggee import Vocabulary
    from llmdbg.engine.single_runs import RowAsFed, RowScores, SingleRuns
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy

_MOST_POSITIONS = 6


def compare_row(runs: SingleRuns, live: StageEvent, anatomy: Anatomy, vocabulary: Vocabulary) -> RowComparison:
    """Hold a row against its single run; `live` is where the program stands, with all rows.

    Raises LlmdbgError if it cannot be run by itself.
    """
    with runs.undisturbed():
        measured = measure_row(runs, live)
        found = find_causes(runs, measured, anatomy) if sets_it_apart(measured.stages, anatomy) else None
    is_unlike = measured.live_times_floor > TIMES_ARITHMETIC_FLOOR
    if found is None and is_unlike:
        found = Found((RowCause.FORWARDS,), None, live.stage.address)
    causes = () if found is None else found.causes
    chosen_behind = measured.scores is not None and _is_chosen_behind(runs.row, measured.scores)
    also = RowCause.FORWARDS not in causes and is_unlike
    return RowComparison(
        lane=runs.lane,
        verdict=_verdict(measured, found, is_chosen_behind=chosen_behind),
        sentence=_sentence(runs, measured, found, is_chosen_behind=chosen_behind),
        causes=(*causes, RowCause.CHOICE) if chosen_behind else causes,
        stage=None if found is None else found.address,
        since=None if found is None or found.stage is None else found.stage.since,
        tokens=len(runs.row.own),
        padding=len(runs.row.padding),
        positions=measured.positions,
        parting=None if measured.scores is None else _parting(measured.scores, vocabulary),
        stages=measured.stages,
        notes=(*runs.notes, *([f"at {live.stage.address} {_of_forwards(measured)}"] if also else ())),
    )


def _of_forwards(measured: MeasuredRow) -> str:
    return (
        f"the program's own forward is {significant(measured.live_times_floor)} times what rounding does from the same "
        "batch fed in one: its KV cache, what an earlier forward was given, or an edit"
    )


def _verdict(measured: MeasuredRow, found: Found | None, *, is_chosen_behind: bool) -> RowVerdict:
    if found is not None or is_chosen_behind:
        return RowVerdict.DIFFERENT
    same = all(each.equal for each in measured.stages)
    return RowVerdict.SAME if same else RowVerdict.WITHIN_ARITHMETIC


def _sentence(runs: SingleRuns, measured: MeasuredRow, found: Found | None, *, is_chosen_behind: bool) -> str:
    lane = f"lane {runs.lane}"
    behind = _behind(runs.row) if is_chosen_behind else ""
    if found is None:
        alike = f"{lane} {_alike(measured.stages)}"
        return f"{alike}; but {behind}" if behind else alike
    since = _since(found.stage, runs.row)
    first = "" if RowCause.FORWARDS in found.causes else "first "
    where = f", {first}at {found.address}{since}" if found.address is not None else ""
    sentence = f"{lane} differs from its single run{where}: {_because(runs, measured, found)}"
    return f"{sentence}; and {behind}" if behind else sentence


def _alike(stages: tuple[RowStage, ...]) -> str:
    if all(each.equal for each in stages):
        return "is what it is by itself, to the bit"
    most = max((each for each in stages if not each.differs), key=lambda each: each.times_floor)
    times = significant(most.times_floor)
    return f"is what it is by itself, within noise: at most {times} times what rounding does, at {most.address}"


def _since(stage: RowStage | None, row: RowAsFed) -> str:
    """From which of its own tokens on, counted from 0, where that is not the first."""
    if stage is None or not stage.since or len(row.own) <= stage.since:
        return ""
    return f" from its token {stage.since} on"


def _because(runs: SingleRuns, measured: MeasuredRow, found: Found) -> str:
    if not found.causes:
        return "it is the only row, and neither its mask nor its position ids explain it"
    said = {
        RowCause.MASK: _of_mask(runs),
        RowCause.POSITIONS: _of_positions(measured.positions),
        RowCause.ROWS: "the other rows are read too (with copies of itself beside it, it is the same)",
        RowCause.PADDING: "its padding is read, masked or not (without any, it is the same in this batch)",
        RowCause.FORWARDS: _of_forwards(measured),
        RowCause.BATCH: f"{runs.rows} rows give another result than one, whatever they hold",
    }
    because = " and ".join(said[each] for each in found.causes)
    counted = None if measured.positions is None else measured.positions.address
    if found.causes[0] is RowCause.MASK and counted == found.address and RowCause.POSITIONS not in found.causes:
        return f"{because}; its positions are counted from the mask"
    return because


def _of_mask(runs: SingleRuns) -> str:
    for row, of in ((runs.row, ""), (runs.read, "for the encoder ")):
        if row is None:
            continue
        shown = [at for at in row.padding if row.mask is None or row.mask[at]]
        # What is behind its last token is read by an encoder alone.
        shown = [at for at in shown if at < row.own[-1]] or shown
        if row.mask is None and shown:
            return f"{of}it is given no attention mask, and reads its {counted(len(shown), 'position')} of padding"
        hidden = [at for at in row.own if row.mask is not None and not row.mask[at]]
        wrong = [f"hides {counted(len(hidden), 'token')} of its own"] if hidden else []
        wrong += [f"shows {counted(len(shown), 'position')} of its padding"] if shown else []
        if wrong:
            return f"{of}its attention mask {listed(wrong)}"
    return "its attention mask is wrong"


def _of_positions(positions: RowPositions | None) -> str:
    if positions is None:
        return "its position ids are wrong"
    here, alone = _numbers(positions.batched), _numbers(positions.alone)
    return f"its tokens are at positions {here}, by itself at {alone}"


def _numbers(positions: tuple[int, ...]) -> str:
    """`2 to 9` where they count on; else the numbers themselves, cut short."""
    first, last = positions[0], positions[-1]
    if len(positions) > 1 and positions == tuple(range(first, last + 1)):
        return f"{first} to {last}"
    shown = " ".join(map(str, positions[:_MOST_POSITIONS]))
    return f"{shown} …" if len(positions) > _MOST_POSITIONS else shown


def _is_chosen_behind(row: RowAsFed, scores: RowScores) -> bool:
    """Whether a row's first token is the likeliest behind its padding, and not that of its own last token."""
    if scores.behind_prompt is None or scores.first > 0 or len(row.own) <= row.in_prompt:
        return False
    chosen = row.ids[row.own[row.in_prompt]]
    return chosen == int(scores.behind_prompt[0].argmax()) != int(scores.batched[0].argmax())


def _behind(row: RowAsFed) -> str:
    last = row.own[row.in_prompt - 1]
    return f"its first token was chosen behind its padding, at position {row.prompt - 1}, not at its own last, {last}"


def _parting(scores: RowScores, vocabulary: Vocabulary) -> RowParting | None:
    ours, theirs = scores.batched.argmax(-1), scores.alone.argmax(-1)
    apart = (ours != theirs).nonzero()
    if not len(apart):
        return None
    at = int(apart[0])
    return RowParting(
        scores.first + at,
        vocabulary.text(int(theirs[at])),
        _chance(scores.alone[at]),
        vocabulary.text(int(ours[at])),
        _chance(scores.batched[at]),
    )


def _chance(scores: Tensor) -> float:
    return float(scores.float().softmax(-1).max())
