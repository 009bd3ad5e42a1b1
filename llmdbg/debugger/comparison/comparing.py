"""Comparing two live runs: input, settings, weights, then every stage, accumulated and isolated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.alignment import aligned
from llmdbg.debugger.comparison.bisecting import bisect, nothing_to_bisect
from llmdbg.debugger.comparison.branches import changes_settings, renamed, steering_differences
from llmdbg.debugger.comparison.choices import choice_facts, parting_of, settings_findings
from llmdbg.debugger.comparison.configuration import configuration_differences
from llmdbg.debugger.comparison.facts import compared_stages, failing_stage, side_facts
from llmdbg.debugger.comparison.grafting import Following, OwnErrors, outermost
from llmdbg.debugger.comparison.judge import in_order, judge
from llmdbg.debugger.comparison.lockstep import run_in_lockstep
from llmdbg.debugger.comparison.measuring import Precision, measure
from llmdbg.debugger.comparison.other_models import is_another_model, only_the_models
from llmdbg.debugger.comparison.outcome import (
    Comparison,
    Finding,
    FindingKind,
    Shares,
    Verdict,
)
from llmdbg.debugger.comparison.pair import Pair
from llmdbg.debugger.comparison.prompts import compare_prompts
from llmdbg.debugger.comparison.reached import mask_notes, reached_findings
from llmdbg.debugger.comparison.reasons import with_reasons
from llmdbg.debugger.comparison.side import FreeRun, LiveSide, run_freely
from llmdbg.debugger.comparison.stage_errors import ErrorTable
from llmdbg.debugger.comparison.verdict import sentence_of
from llmdbg.debugger.comparison.weights import compare_weights
from llmdbg.errors import GenerationError, LlmdbgError

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.judge import Measurements
    from llmdbg.debugger.comparison.lockstep import Follower
    from llmdbg.debugger.comparison.other_models import WeightCensus
    from llmdbg.debugger.comparison.outcome import Bisection, Parting

Report = Callable[[str], None]
"""Told what is being done, in a few words."""


def compare(
    reference: LiveSide,
    candidate: LiveSide,
    report: Report = lambda _: None,
    given: Mapping[str, Sequence[str]] = MappingProxyType({}),
    precision: Precision | None = None,
    *,
    bisects: bool = False,
) -> Comparison:
    """Compare two live runs. Raises LlmdbgError if the reference fails; a candidate that fails is a finding.

    `given` names the reference's modules for one of the candidate's, by the last parts of their addresses:
    `{"qkv_proj": ("q_proj", "k_proj", "v_proj")}`. Modules that it does not name are matched by weights and shapes.
    `precision` is how exactly stages are measured; None for as exactly as memory allows. `bisects` says whether to look
    for the smallest set of stages that repairs the candidate's answer, which runs it many times more.
    """
    found = _Comparing(Pair(reference, candidate, given), report, precision, bisects=bisects)
    return found.compare()


class _Comparing:
    def __init__(self, pair: Pair, report: Report, precision: Precision | None, *, bisects: bool) -> None:
        self.pair = pair
        self.bisects = bisects
        self.report = report
        self.precision = precision
        self.rounded: tuple[str, ...] = ()

    def compare(self) -> Comparison:
        self.report("running the reference")
        try:
            theirs = run_freely(self.pair.reference.debuggee())
        except GenerationError as error:
            raise GenerationError(f"the reference fails: {error}") from error
        self.report("running the candidate")
        ours, failure = self._candidate_freely()
        findings, failures = [*self._findings_before_running(theirs, ours)], list[Finding]()
        if lacking := self.pair.lacks((*self.pair.prompt.ids, *theirs.ids)):
            return self._without_stages(findings, lacking, theirs, ours)
        self.report("comparing every stage, each run from its own input")
        followed, follower = self._follow(theirs.ids)
        if failure is not None:
            # With every stage watched, the failure says after which of them.
            failure = follower.failure or failure
            self.pair.known_failure(failure)
            where = failing_stage(failure, self.pair.our_anatomy)
            sentence = f"the candidate fails: {failure}"
            failures.append(Finding(FindingKind.FAILED, where or follower.last_address or "tokenize", sentence))
        elif follower.failure is not None:
            self.pair.note_failure("on the reference's tokens", follower.failure)
        self.report("comparing the weights")
        weights = compare_weights(self.pair.theirs, self.pair.ours)
        if (other := self._other_model(weights.census)) is not None:
            findings += [*failures, *only_the_models(weights.findings, other)]
            return self._outcome(Verdict.DIVERGED, findings, theirs, ours, followed.errors, None, None)
        self.rounded = weights.rounded
        if self.rounded:
            self.pair.notes.append(f"{self.rounded[0]}: Module.to() rounds buffers, and loading in a dtype does not")
        self.pair.notes += [] if (note := weights.census.note()) is None else [note]
        same_ids = ours is not None and ours.ids == theirs.ids
        if (
            not (findings or failures or weights.findings)
            and same_ids
            and all(each.equal for each in followed.errors.overall().values())
        ):
            return self._outcome(Verdict.SAME, [], theirs, ours, followed.errors, None, None)
        self.report("comparing every stage on the same input")
        measured = measure(self.pair, theirs.ids, weights.agreeing, self.precision)
        errors, watch = measured.errors, measured.watch
        self.pair.notes += mask_notes(watch)
        configured = configuration_differences(self.pair.anatomy, self.pair.our_anatomy)
        judged = judge(errors, self.pair.our_anatomy, configured | self.pair.edited)
        found = [*failures, *reached_findings(watch), *weights.findings, *renamed(judged, self.pair.edited)]
        models = self.pair.reference.loaded.model, self.pair.candidate.loaded.model
        explained = configured.keys() | self.pair.edited.keys()
        found = with_reasons(found, explained, models, (self.pair.anatomy, self.pair.our_anatomy))
        stages = in_order(found, watch.errors.addresses(), errors, self.pair.our_anatomy)
        findings += stages
        shares = self._shares(stages, theirs.ids, followed.errors) if stages else None
        verdict = Verdict.DIVERGED if findings else Verdict.WITHIN_ARITHMETIC
        return self._outcome(verdict, findings, theirs, ours, followed.errors, errors, shares)

    def _other_model(self, census: WeightCensus) -> str | None:
        """That the candidate is another model altogether, in a sentence; None if it is the same one."""
        one, other = (each.loaded.model for each in (self.pair.reference, self.pair.candidate))
        return census.sentence((type(one).__name__, type(other).__name__)) if census.are_other_models else None

    def _candidate_freely(self) -> tuple[FreeRun | None, LlmdbgError | None]:
        try:
            return run_freely(self.pair.candidate.debuggee()), None
        except LlmdbgError as error:
            return None, error

    def _without_stages(
        self, findings: list[Finding], lacking: list[int], theirs: FreeRun, ours: FreeRun | None
    ) -> Comparison:
        """What is known of a candidate that cannot read the reference's tokens."""
        sentence = f"the candidate's vocabulary lacks ids of the reference's tokens, such as {lacking[-1]}"
        findings = findings or [Finding(FindingKind.INPUT, "tokenize", sentence)]
        weights = compare_weights(self.pair.theirs, self.pair.ours)
        if (other := self._other_model(weights.census)) is not None:
            findings = [*findings, *only_the_models(weights.findings, other)]
        self.pair.notes.append(f"{sentence}: no stage was compared")
        return self._outcome(Verdict.DIVERGED, findings, theirs, ours, ErrorTable(), None, None)

    def _findings_before_running(self, theirs: FreeRun, ours: FreeRun | None) -> list[Finding]:
        if ours is None:
            return []
        prompts = compare_prompts(
            self.pair.reference.prompt,
            self.pair.candidate.prompt,
            ours.debuggee.vocabulary,
            theirs=theirs.debuggee.vocabulary,
        )
        sides = self.pair.reference, self.pair.candidate
        steered = steering_differences(*sides, ours.debuggee.vocabulary.text)
        # What a run says of its choices once it is over holds for its last token.
        changing = changes_settings(*sides)
        one, other = (None if changing else choice_facts(each.debuggee) for each in (theirs, ours))
        return [*prompts, *settings_findings(one, other, steered)]

    def _follow(self, ids: list[int], repaired: OwnErrors | None = None) -> tuple[Following, Follower]:
        watch = Following(self.pair.padding, repaired)
        follower = self.pair.following(watch)
        run_in_lockstep(self.pair.reference.debuggee(), ids, [follower])
        return watch, follower

    def _shares(self, stages: list[Finding], ids: list[int], before: ErrorTable) -> Shares | None:
        """How much of the final difference is the first stage's own, and all stages' together."""
        addresses = [each.address for each in stages]
        self.report(f"taking back what {addresses[0]} adds")
        first = self._share(addresses[:1], ids, before)
        if first is None:
            return None
        return Shares(first, first if len(addresses) == 1 else self._share(addresses, ids, before))

    def _share(self, addresses: list[str], ids: list[int], before: ErrorTable) -> float | None:
        own = OwnErrors(outermost(addresses, self.pair.our_anatomy))
        follower = self.pair.following(self.pair.watch_grafted(own))
        run_in_lockstep(self.pair.reference.debuggee(), ids, [follower])
        after = self._follow(ids, own)[0].errors.overall().get("logits")
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
        bisection = self._bisection(verdict, findings, theirs, ours, parting) if self.bisects else None
        facts = side_facts(self.pair.reference, theirs), side_facts(self.pair.candidate, ours)
        return Comparison(
            *facts,
            verdict,
            sentence_of(verdict, findings, parting, shares, rounded=self.rounded),
            tuple(findings),
            compared_stages(followed, measured, self.pair.our_anatomy),
            parting,
            shares,
            tuple(dict.fromkeys(self.pair.notes)),
            bisection,
            () if ours is None else aligned(*facts),
        )

    def _bisection(
        self,
        verdict: Verdict,
        findings: list[Finding],
        theirs: FreeRun,
        ours: FreeRun | None,
        parting: Parting | None,
    ) -> Bisection:
        if verdict is Verdict.SAME:
            return nothing_to_bisect("there is no difference to repair")
        if ours is None:
            return nothing_to_bisect("nothing was repaired: the candidate fails, and gives no answer")
        if is_another_model(findings):
            return nothing_to_bisect("nothing was repaired: these are different models")
        if self.pair.lacks((*self.pair.prompt.ids, *theirs.ids)):
            return nothing_to_bisect("nothing was repaired: the candidate cannot read the reference's tokens")
        return bisect(self.pair, theirs, parting, findings, self.report)
