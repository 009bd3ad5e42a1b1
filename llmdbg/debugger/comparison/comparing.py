"""Comparing two live runs: input, settings, weights, then every stage, accumulated and isolated.

The isolated errors come from one walk in lockstep. The reference runs in float64, its tokens forced, and beside it,
each stage on the float64 values of the reference:
- the reference in its own dtype, in the candidate's and in float32: what rounding does to each stage, the floor;
- the candidate in its own dtype: the stage's isolated error;
- the candidate in float64 with the reference's weights: whether it is the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.choices import parting_of, settings_findings
from llmdbg.debugger.comparison.configuration import configuration_differences
from llmdbg.debugger.comparison.grafting import Following, Grafted, OwnErrors, outermost
from llmdbg.debugger.comparison.judge import MeasuredErrors, Measurements, in_order, judge
from llmdbg.debugger.comparison.lockstep import Follower, run_in_lockstep
from llmdbg.debugger.comparison.mapping import NAMESAKES, map_stages
from llmdbg.debugger.comparison.outcome import (
    ComparedStage,
    Comparison,
    Finding,
    FindingKind,
    Shares,
    SideFacts,
    Verdict,
)
from llmdbg.debugger.comparison.prompts import compare_prompts
from llmdbg.debugger.comparison.reached import reached_findings
from llmdbg.debugger.comparison.side import FreeRun, LiveSide, run_freely
from llmdbg.debugger.comparison.stage_errors import ErrorTable
from llmdbg.debugger.comparison.variants import in_dtypes_of, in_float32, in_float64, is_convertible, made_float64
from llmdbg.debugger.comparison.verdict import sentence_of
from llmdbg.debugger.comparison.weights import compare_weights, named_weights
from llmdbg.errors import LlmdbgError
from llmdbg.formatting import listed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmdbg.debugger.comparison.weights import WeightName
    from llmdbg.models.tokens import Prompt

Report = Callable[[str], None]
"""Told what is being done, in a few words."""

_MOST_NAMED = 4


def compare(
    reference: LiveSide,
    candidate: LiveSide,
    report: Report = lambda _: None,
    given: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Comparison:
    """Compare two live runs. Raises LlmdbgError if the reference fails; a candidate that fails is a finding.

    `given` names the reference's modules for one of the candidate's, by the last parts of their addresses:
    `{"qkv_proj": ("q_proj", "k_proj", "v_proj")}`. Modules that it does not name are matched by weights and shapes.
    """
    return _Comparing(reference, candidate, report, given).compare()


class _Comparing:
    def __init__(
        self, reference: LiveSide, candidate: LiveSide, report: Report, given: Mapping[str, Sequence[str]]
    ) -> None:
        self.reference = reference
        self.candidate = candidate
        self.report = report
        self.notes: list[str] = []
        self.anatomy = reference.debuggee().anatomy
        self.other_anatomy = candidate.debuggee().anatomy
        self.weights = candidate.weights(self.other_anatomy)
        theirs = reference.weights(self.anatomy)
        self.stage_map = map_stages(self.anatomy, self.other_anatomy, theirs, self.weights, given)
        self.their_weights = self.stage_map.weights(theirs, self.weights)
        if unpaired := self.stage_map.unpaired:
            names = listed([*unpaired[:_MOST_NAMED], *(["more"] if len(unpaired) > _MOST_NAMED else [])])
            self.notes.append(f"no counterpart in the reference was found for {names}: name them with --map")

    def compare(self) -> Comparison:
        self.report("running the reference")
        theirs = run_freely(self.reference.debuggee())
        self.report("running the candidate")
        ours, failure = self._candidate_freely()
        findings = [*self._findings_before_running(theirs, ours)]
        if failure is not None:
            findings.append(failure)
        prompt = self._prompt_for_stages()
        self.report("comparing every stage, each run on its own way")
        followed = self._follow(theirs.ids, prompt)
        same_ids = ours is not None and ours.ids == theirs.ids
        if not findings and same_ids and all(each.equal for each in followed.errors.overall().values()):
            return self._outcome(Verdict.SAME, [], theirs, ours, followed.errors, None, None)
        self.report("comparing the weights")
        weights = compare_weights(self.their_weights, self.weights)
        self.report("comparing every stage on the same input")
        measured, watch = self._measure(theirs.ids, prompt, weights.agreeing)
        stages = judge(measured, self.other_anatomy, configuration_differences(self.anatomy, self.other_anatomy))
        found = [*reached_findings(watch), *weights.findings, *stages]
        stages = in_order(found, watch.errors.addresses(), measured)
        findings += stages
        shares = self._shares(stages, theirs.ids, prompt, followed.errors) if stages else None
        verdict = Verdict.DIVERGED if findings else Verdict.WITHIN_ARITHMETIC
        return self._outcome(verdict, findings, theirs, ours, followed.errors, measured, shares)

    def _candidate_freely(self) -> tuple[FreeRun | None, Finding | None]:
        try:
            return run_freely(self.candidate.debuggee()), None
        except LlmdbgError as error:
            return None, Finding(FindingKind.FAILED, "tokenize", f"the candidate fails: {error}")

    def _findings_before_running(self, theirs: FreeRun, ours: FreeRun | None) -> list[Finding]:
        if ours is None:
            return []
        prompts = compare_prompts(
            self.reference.prompt,
            self.candidate.prompt,
            ours.debuggee.vocabulary,
            theirs=theirs.debuggee.vocabulary,
        )
        return [*prompts, *settings_findings(theirs.debuggee, ours.debuggee)]

    def _prompt_for_stages(self) -> Prompt:
        """What the candidate reads while stages are compared: the reference's ids, behind its own padding."""
        ours, theirs = self.candidate.prompt, self.reference.prompt
        if ours.ids[ours.padding :] == theirs.ids[theirs.padding :]:
            return ours
        self.notes.append("the inputs differ, so the stages are compared on the reference's input")
        return theirs

    def _padding(self, prompt: Prompt) -> int:
        return prompt.padding - self.reference.prompt.padding

    def _follow(self, ids: list[int], prompt: Prompt, repaired: OwnErrors | None = None) -> Following:
        watch = Following(self._padding(prompt), repaired)
        follower = Follower(self.candidate.debuggee(prompt=prompt), watch, self.stage_map)
        run_in_lockstep(self.reference.debuggee(), ids, [follower])
        if follower.failure is not None:
            self.notes.append(f"the candidate failed on the reference's tokens: {follower.failure}")
        return watch

    def _measure(self, ids: list[int], prompt: Prompt, agreeing: frozenset[WeightName]) -> tuple[Measurements, Grafted]:
        """Walk twice: with the candidate as it is, then in float64. Also returns what watched the first walk."""
        reference, candidate = self.reference.loaded.model, self.candidate.loaded.model
        exact = in_float64(reference)
        followers: list[Follower] = []
        ours = self._follower(followers, self.candidate, candidate, prompt)
        own = alike = single = self._follower(followers, self.reference, reference, None)
        if not _same_dtypes(reference, candidate):
            other = in_dtypes_of(reference, self.anatomy, self.weights)
            alike = self._follower(followers, self.reference, other, None)
        if not _is_float32(reference):
            single = self._follower(followers, self.reference, in_float32(reference), None)
        run_in_lockstep(self.reference.debuggee(exact), ids, followers)
        if followers[0].failure is not None:
            self.notes.append(f"the candidate failed on the reference's values: {followers[0].failure}")
        function = self._in_float64(exact, ids, prompt, agreeing)
        measured = Measurements(
            candidate=_read(ours),
            function=None if function is None else _read(function),
            reference=_read(own),
            reference_like_candidate=_read(alike),
            reference_in_float32=_read(single),
            last_bit=max(_last_bit(reference), _last_bit(candidate)),
            stage_map=self.stage_map,
        )
        return measured, ours

    def _in_float64(
        self, exact: PreTrainedModel, ids: list[int], prompt: Prompt, agreeing: frozenset[WeightName]
    ) -> Grafted | None:
        """The candidate in float64 beside the reference in float64; None if it cannot be run so."""
        candidate = self.candidate.loaded.model
        if not is_convertible(candidate):
            self.notes.append("the candidate's weights cannot be converted, so it was not run in float64")
            return None
        exact_weights = named_weights(exact, self.reference.debuggee(exact).anatomy)
        weights = self.stage_map.weights(exact_weights, self.weights)
        followers: list[Follower] = []
        with made_float64(candidate, self.other_anatomy, weights, agreeing):
            watch = self._follower(followers, self.candidate, candidate, prompt)
            run_in_lockstep(self.reference.debuggee(exact), ids, followers)
        if (failure := followers[0].failure) is not None:
            self.notes.append(f"the candidate could not be run in float64: {failure}")
            return None
        return watch

    def _follower(
        self, followers: list[Follower], side: LiveSide, model: PreTrainedModel, prompt: Prompt | None
    ) -> Grafted:
        debuggee = side.debuggee(model, prompt)
        watch = Grafted(debuggee.anatomy, self._padding(prompt) if prompt is not None else 0)
        followers.append(Follower(debuggee, watch, self.stage_map if side is self.candidate else NAMESAKES))
        return watch

    def _shares(self, stages: list[Finding], ids: list[int], prompt: Prompt, before: ErrorTable) -> Shares | None:
        """How much of the final difference is the first stage's own, and all stages' together."""
        addresses = [each.address for each in stages]
        self.report(f"taking back what {addresses[0]} adds")
        first = self._share(addresses[:1], ids, prompt, before)
        if first is None:
            return None
        return Shares(first, first if len(addresses) == 1 else self._share(addresses, ids, prompt, before))

    def _share(self, addresses: list[str], ids: list[int], prompt: Prompt, before: ErrorTable) -> float | None:
        own = OwnErrors(outermost(addresses, self.other_anatomy))
        watch = Grafted(self.other_anatomy, self._padding(prompt), own)
        follower = Follower(self.candidate.debuggee(prompt=prompt), watch, self.stage_map)
        run_in_lockstep(self.reference.debuggee(), ids, [follower])
        after = self._follow(ids, prompt, own).errors.overall().get("logits")
        now = before.overall().get("logits")
        if after is None or now is None or not now.relative or not isfinite(now.relative):
            return None
        return max(0.0, 1.0 - after.relative / now.relative)

    def _outcome(
        self,
        verdict: Verdict,
        findings: list[Finding],
        theirs: FreeRun,
        ours: FreeRun | None,
        followed: ErrorTable,
        measured: Measurements | None,
        shares: Shares | None,
    ) -> Comparison:
        parting = None if ours is None else parting_of(theirs, ours)
        return Comparison(
            _facts(self.reference, theirs),
            _facts(self.candidate, ours),
            verdict,
            sentence_of(verdict, findings, parting, shares),
            tuple(findings),
            tuple(self._rows(followed, measured)),
            parting,
            shares,
            tuple(dict.fromkeys(self.notes)),
        )

    def _rows(self, followed: ErrorTable, measured: Measurements | None) -> list[ComparedStage]:
        overall = followed.overall()
        stages = {stage.address: stage for stage in self.other_anatomy.stages}
        rows = []
        for address, error in overall.items():
            own = None if measured is None else measured.candidate.own.get(address)
            function = None if measured is None or measured.function is None else measured.function.own.get(address)
            stage = stages.get(address)
            rows.append(
                ComparedStage(
                    address,
                    None if stage is None else stage.layer,
                    1 if stage is None else stage.depth,
                    error.relative,
                    None if own is None else own.relative,
                    None if measured is None or own is None else measured.floor(address),
                    None if function is None else function.relative,
                    error.equal,
                    next(
                        (token for token in followed.tokens() if (at := followed.at(token, address)) and not at.equal),
                        None,
                    ),
                )
            )
        return rows


def _read(run: Grafted) -> MeasuredErrors:
    return MeasuredErrors(run.errors.overall(), run.inputs.overall())


def _same_dtypes(one: PreTrainedModel, other: PreTrainedModel) -> bool:
    return {each.dtype for each in one.parameters()} == {each.dtype for each in other.parameters()}


def _is_float32(model: PreTrainedModel) -> bool:
    return {each.dtype for each in model.parameters()} == {torch.float32}


def _last_bit(model: PreTrainedModel) -> float:
    return max(
        (torch.finfo(each.dtype).eps / 2 for each in model.parameters() if each.is_floating_point()), default=0.0
    )


def _facts(side: LiveSide, run: FreeRun | None) -> SideFacts:
    loaded = side.loaded
    ids = tuple(run.ids) if run is not None else ()
    text = run.debuggee.vocabulary.decode(ids) if run is not None else ""
    return SideFacts(loaded.name, f"{loaded.device} {loaded.dtype}", loaded.attn, side.prompt.ids, ids, text)
