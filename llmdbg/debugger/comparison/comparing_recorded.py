"""Comparing a recording with a live model, or with another recording.

With a live model and whole tensors in the recording, every stage is run on the recorded values: its isolated error.
Without tensors the live model is recorded too, and the sketches of both are compared; what rounding does on the way is
measured by further runs of the live model, exactly and in the recording's dtype. Of two recordings alone nothing can be
run, so the floor is an estimate: how much the error grows from one stage to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import hypot
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.against_recording import hold_against
from llmdbg.debugger.comparison.alignment import aligned, common_positions
from llmdbg.debugger.comparison.branches import edited_stages, renamed, steering_differences
from llmdbg.debugger.comparison.choices import choice_facts, parting_of, settings_findings
from llmdbg.debugger.comparison.facts import compared_stages, side_facts
from llmdbg.debugger.comparison.judge import TIMES_ARITHMETIC_FLOOR, in_order, judge
from llmdbg.debugger.comparison.other_models import is_another_model
from llmdbg.debugger.comparison.outcome import ComparedStage, Comparison, Finding, FindingKind, Verdict
from llmdbg.debugger.comparison.prompts import compare_prompts
from llmdbg.debugger.comparison.reached import mask_notes, reached_findings
from llmdbg.debugger.comparison.recorded_side import (
    RecordedSide,
    SketchErrors,
    WeightFacts,
    recorded_weights,
    sketch_errors,
    weight_findings,
)
from llmdbg.debugger.comparison.recorded_values import RecordedValues, map_recorded
from llmdbg.debugger.comparison.side import LiveSide, run_freely
from llmdbg.debugger.comparison.variants import converted, is_convertible
from llmdbg.debugger.comparison.verdict import sentence_of
from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.errors import UsageError
from llmdbg.formatting import counted, listed, printable
from llmdbg.models.anatomy import vocabulary_size
from llmdbg.probes.statistics import dtype_name
from llmdbg.traces.reader import Trace
from llmdbg.traces.recording import RunRecording
from llmdbg.traces.soundness import damage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmdbg.debugger.comparison.choices import ChosenTokens
    from llmdbg.debugger.comparison.comparing import Report
    from llmdbg.debugger.comparison.mapping import StageMap
    from llmdbg.debugger.comparison.outcome import Parting, SideFacts
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.traces.records import StageEntry


@dataclass(frozen=True, slots=True)
class _Stages:
    """What was found out about the stages."""

    rows: tuple[ComparedStage, ...]
    findings: list[Finding]


def compare_with_recording(
    trace: Trace,
    live: LiveSide,
    report: Report,
    given: Mapping[str, Sequence[str]],
    *,
    live_is_reference: bool,
) -> Comparison:
    """Compare a recording with a live model. Raises LlmdbgError if the live model fails or the recording is damaged."""
    recorded, notes = RecordedSide(trace), [*damage(trace)]
    _check_can_read(recorded, live)
    report("running the model")
    free = run_freely(live.debuggee())
    findings = _before_stages(recorded, live, free.debuggee, live_is_reference=live_is_reference)
    notes += () if live.branch is None else live.branch.notes
    known = recorded.prompt.ids
    prompt = live.prompt if not known or live.prompt.ids == known else recorded.prompt
    if not known:
        notes.append("the recording does not say what was fed: the prompt is taken to be the model's")
    if prompt is not live.prompt:
        notes.append("the inputs differ, so the stages are compared on the recorded input")
    side = replace(live, prompt=prompt, settings=replace(live.settings, max_new_tokens=len(recorded.forced)))
    weights = _weights(recorded, live, free.debuggee.anatomy)
    weight_faults = weight_findings(*(weights if live_is_reference else reversed(weights)))
    report("comparing every stage")
    if recorded.has_tensors:
        stages = _on_recorded_values(recorded, side, given, weight_faults, notes, live_is_reference=live_is_reference)
    else:
        notes.append("whole tensors were not recorded (--tensors inputs), so no stage could be run on its own")
        stages = _by_sketches(recorded, side, weight_faults, notes, live_is_reference=live_is_reference)
    findings += stages.findings
    one: tuple[ChosenTokens, SideFacts] = (free, side_facts(live, free))
    two: tuple[ChosenTokens, SideFacts] = (recorded, recorded.facts())
    (reference, theirs), (candidate, facts) = (one, two) if live_is_reference else (two, one)
    parting = parting_of(reference, candidate, None if recorded.is_complete else len(recorded.ids))
    return _outcome(theirs, facts, findings, stages.rows, parting, notes)


def _check_can_read(recorded: RecordedSide, live: LiveSide) -> None:
    """Raise UsageError for a model that lacks tokens of the recorded prompt."""
    size, newest = vocabulary_size(live.loaded.model), max(recorded.prompt.ids, default=0)
    if live.prompt.ids == recorded.prompt.ids and size is not None and newest >= size:
        model, folder = printable(recorded.header.model), recorded.trace.folder
        raise UsageError(
            f"{folder} is a recording of {model}, whose prompt has the id {newest}, and {live.loaded.name} has "
            f"{size:,} tokens: these are different models"
        )


def compare_recordings(reference: Trace, candidate: Trace) -> Comparison:
    """Compare two recordings. Raises TraceError for a damaged one."""
    one, other = RecordedSide(reference), RecordedSide(candidate)
    unknown = not (one.prompt.ids and other.prompt.ids)
    findings = [
        *([] if unknown else compare_prompts(one.prompt, other.prompt, other, theirs=one)),
        *settings_findings(one.choice_facts(), other.choice_facts()),
    ]
    faults = weight_findings(recorded_weights(reference), recorded_weights(candidate))
    notes = [*damage(reference), *damage(candidate)]
    notes.append(
        "neither side is a live model, so what rounding does is an estimate: give one as a model to measure it"
    )
    sketches = _sketches(one, other, notes)
    last_bit = max(_last_bit(one.header.dtype), _last_bit(other.header.dtype))
    floors = _growing(sketches, last_bit)
    stages = _first_beyond(sketches, floors, faults, candidate.entries)
    notes += _about(sketches)
    complete = one.is_complete and other.is_complete
    parting = parting_of(one, other, None if complete else min(len(one.ids), len(other.ids)))
    return _outcome(one.facts(), other.facts(), [*findings, *stages.findings], stages.rows, parting, notes)


def _sketches(reference: RecordedSide, candidate: RecordedSide, notes: list[str]) -> SketchErrors:
    """Compare what was computed from the same tokens: all positions before the first that differs.

    Values after an inserted token have another past and another position, however well the texts match again.
    """
    one, other = reference.prompt, candidate.prompt
    theirs, ours = one.ids[one.padding :], other.ids[other.padding :]
    if theirs and ours and theirs != ours:
        same = common_positions(theirs, ours)
        where = f"at the {counted(same, 'position')} before that" if same else "nowhere"
        notes.append(
            f"the prompts part at position {same}: values are compared {where}, since the rest has another past"
        )
        positions = slice(one.padding, one.padding + same), slice(other.padding, other.padding + same)
        return sketch_errors(reference.trace, candidate.trace, 1 if same else 0, positions=positions)
    common = _common(reference.forced, candidate.forced)
    if common < max(len(reference.forced), len(candidate.forced)):
        notes.append(f"stages are compared up to token {common - 1}: what comes after it has another past")
    return sketch_errors(reference.trace, candidate.trace, common, other.padding - one.padding)


def _before_stages(
    recorded: RecordedSide, live: LiveSide, debuggee: Debuggee, *, live_is_reference: bool
) -> list[Finding]:
    if not recorded.prompt.ids:
        return []
    facts, known = choice_facts(debuggee), recorded.choice_facts()
    steered = steering_differences(*_with_plain(live, live_is_reference=live_is_reference), debuggee.vocabulary.text)
    if live_is_reference:
        prompts = compare_prompts(live.prompt, recorded.prompt, recorded, theirs=debuggee.vocabulary)
        return [*prompts, *settings_findings(facts, known, steered)]
    prompts = compare_prompts(recorded.prompt, live.prompt, debuggee.vocabulary, theirs=recorded)
    return [*prompts, *settings_findings(known, facts, steered)]


def _with_plain(live: LiveSide, *, live_is_reference: bool) -> tuple[LiveSide, LiveSide]:
    """A live side in its place, and in that of a recording the same side without a branch's changes."""
    plain = replace(live, branch=None)
    return (live, plain) if live_is_reference else (plain, live)


def _on_recorded_values(
    recorded: RecordedSide,
    side: LiveSide,
    given: Mapping[str, Sequence[str]],
    weights: list[Finding],
    notes: list[str],
    *,
    live_is_reference: bool,
) -> _Stages:
    anatomy = side.debuggee().anatomy
    widths = {address: weight.shape[0] for (address, of), weight in side.weights(anatomy).items() if of == "weight"}
    stage_map = map_recorded(recorded.trace, anatomy, widths, given)
    values = RecordedValues(recorded.trace, stage_map)
    held = hold_against(
        side, values, recorded.forced, _torch_dtype(recorded.header.dtype), notes, live_is_reference=live_is_reference
    )
    notes += mask_notes(held.watch)
    edited = edited_stages(*_with_plain(side, live_is_reference=live_is_reference))
    judged = renamed(judge(held.errors, anatomy, edited), edited)
    # Of another model every stage differs, which says no more.
    judged = [] if is_another_model(weights) else [*reached_findings(held.watch), *judged]
    found = in_order([*weights, *judged], held.watch.errors.addresses(), held.errors, anatomy)
    if live_is_reference:
        found = [_renamed(each, stage_map) for each in found]
    return _Stages(compared_stages(held.accumulated, held.errors, anatomy), found)


def _renamed(finding: Finding, stage_map: StageMap) -> Finding:
    """A finding under the candidate's own name of the stage."""
    names = stage_map.names(finding.address)
    return replace(finding, address=names[0]) if names[0] != finding.address else finding


def _by_sketches(
    recorded: RecordedSide, side: LiveSide, weights: list[Finding], notes: list[str], *, live_is_reference: bool
) -> _Stages:
    """Compare sketches, against a floor of further runs of the live model."""
    model = side.loaded.model
    last_bit = max(_last_bit(recorded.header.dtype), _last_bit(side.loaded.dtype))
    with TemporaryDirectory(prefix="llmdbg-") as folder:
        tokens = len(recorded.forced)
        own = _recorded(side, model, recorded.forced, Path(folder, "own"))
        sides = (own, recorded.trace) if live_is_reference else (recorded.trace, own)
        sketches = sketch_errors(*sides, tokens)
        floors = dict.fromkeys(sketches.errors, last_bit)
        if is_convertible(model):
            exact = _recorded(side, converted(model, torch.float64), recorded.forced, Path(folder, "exact"))
            dtype = _torch_dtype(recorded.header.dtype)
            alike = _recorded(side, converted(model, dtype), recorded.forced, Path(folder, "alike"))
            rounding = [sketch_errors(exact, each, tokens).errors for each in (own, alike)]
            floors = {
                address: max(last_bit, hypot(*(each[address].relative for each in rounding if address in each)))
                for address in sketches.errors
            }
        entries = own.entries
    notes += _about(sketches)
    return _first_beyond(sketches, floors, weights, entries)


def _about(sketches: SketchErrors) -> list[str]:
    notes = []
    if count := len(sketches.by_statistics):
        known = f"of {counted(count, 'stage')} only statistics are known"
        notes.append(f"{known}, so their errors are the least that these allow")
    if count := len(sketches.others):
        names = sorted({address.rpartition(".")[2] for address in sketches.others})
        notes.append(
            f"{counted(count, 'stage')} ({listed(names)}) of one name on both sides are given vectors of another width "
            "on each: they are other functions, and are not compared"
        )
    return notes


def _recorded(side: LiveSide, model: PreTrainedModel, ids: Sequence[int], folder: Path) -> Trace:
    """A recording of a live run that chooses `ids`."""
    debuggee = side.debuggee(model)
    debuggee.timeline.overrides = {token: TokenOverrides(force=id) for token, id in enumerate(ids)}
    with closing(debuggee.events()) as events:
        first = next(events)
        recording = RunRecording(debuggee, folder)
        recording.passed(first)
        debuggee.stops.arm(recording.addresses, recording.handler)
        for _ in events:
            pass
        recording.close()
    return Trace.open(folder)


def _growing(sketches: SketchErrors, last_bit: float) -> dict[str, float]:
    """An estimate of the floor of each stage: the largest error so far, which a stage may hand on."""
    floors, largest = {}, last_bit
    for address, error in sketches.errors.items():
        floors[address] = largest
        if error.relative < float("inf"):
            largest = max(largest, error.relative)
    return floors


def _first_beyond(
    sketches: SketchErrors, floors: Mapping[str, float], weights: list[Finding], entries: Sequence[StageEntry]
) -> _Stages:
    """The first stage whose accumulated error is beyond its floor: the later ones have it from there."""
    place = {address: at for at, address in enumerate(sketches.errors)}
    known = {each.address: each for each in entries}
    rows, first = [], None
    for address, error in sketches.errors.items():
        floor = floors[address]
        entry, since = known[address], sketches.first_token.get(address)
        rows.append(
            ComparedStage(address, entry.layer, entry.depth, error.relative, None, floor, None, error.equal, since)
        )
        sentence = _beyond(error.newly_nonfinite, error.relative, floor, shape_differs=error.shape_differs)
        if sentence and first is None:
            kind = FindingKind.NONFINITE if error.newly_nonfinite else FindingKind.FUNCTION
            first = Finding(kind, address, sentence, None, error.relative / floor if floor else None)
    findings = [*weights]
    # Weights that differ explain whatever differs from there on.
    explained = is_another_model(weights) or (
        first is not None and any(place.get(each.address, len(place)) <= place[first.address] for each in weights)
    )
    if first is not None and not explained:
        findings.append(first)
    findings.sort(key=lambda each: place.get(each.address, len(place)))
    return _Stages(tuple(rows), findings)


def _beyond(nonfinite: int, relative: float, floor: float, *, shape_differs: bool) -> str:
    if shape_differs:
        return "returns a tensor of a different shape"
    if nonfinite:
        return f"returns {counted(nonfinite, 'NaN or infinite value')} where the reference's are finite"
    if relative > TIMES_ARITHMETIC_FLOOR * floor:
        return f"is the first stage whose error ({relative:.2g}) is larger than rounding explains ({floor:.1g})"
    return ""


def _weights(
    recorded: RecordedSide, live: LiveSide, anatomy: Anatomy
) -> tuple[dict[str, WeightFacts], dict[str, WeightFacts]]:
    """The live weights, each in the recording's dtype where that is no finer, and the recorded ones."""
    theirs = recorded_weights(recorded.trace)
    ours = {}
    for (address, of), tensor in live.weights(anatomy).items():
        place = f"{address}/{of}"
        if (other := theirs.get(place)) is None or tensor.is_meta:
            continue
        dtype = _torch_dtype(other.dtype)
        same = tensor.dtype == dtype or (dtype.itemsize < tensor.dtype.itemsize and tensor.is_floating_point())
        hashed = int(fingerprint_of(tensor.to(dtype))) if same and other.hash is not None else None
        ours[place] = WeightFacts(place, tuple(tensor.shape), other.dtype if same else dtype_name(tensor.dtype), hashed)
    return ours, theirs


def _outcome(
    reference: SideFacts,
    candidate: SideFacts,
    findings: list[Finding],
    rows: tuple[ComparedStage, ...],
    parting: Parting | None,
    notes: list[str],
) -> Comparison:
    if not rows:
        notes = [*notes, "no stage could be compared: none has a name and values on both sides"]
    same = not findings and parting is None and bool(rows) and all(each.equal for each in rows)
    verdict = Verdict.DIVERGED if findings else Verdict.SAME if same else Verdict.WITHIN_ARITHMETIC
    sentence = sentence_of(verdict, findings, parting, None, has_texts=bool(reference.ids and candidate.ids))
    return Comparison(
        reference,
        candidate,
        verdict,
        sentence,
        tuple(findings),
        rows,
        parting,
        None,
        tuple(dict.fromkeys(notes)),
        alignment=aligned(reference, candidate),
    )


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many forwards had the same input: those up to the first token that differs."""
    equal = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    return min(len(one), len(other)) if equal is None else equal + 1


def _torch_dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    return found if isinstance(found, torch.dtype) else torch.float32


def _last_bit(dtype: str) -> float:
    found = _torch_dtype(dtype)
    return float(torch.finfo(found).eps) / 2 if found.is_floating_point else 2.0**-24
