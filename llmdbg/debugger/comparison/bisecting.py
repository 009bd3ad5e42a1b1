"""`diff --bisect`: the smallest set of stages that repairs the candidate's answer, found by grafting halves.

To repair a stage is to take back what it adds by itself: the difference of what it returns from the reference's value,
where everything before it is the reference's. The value is not simply put in its place: a layer returns the residual
stream, in which all layers before it are, so a late layer's value would repair the faults of all of them.

Stages of the outline are searched first, the layers as wholes, then what is inside the layers found, down to modules
that hold no others. A module whose parts are searched stays in the search for what it does between them. With every
stage repaired, each is given the reference's values, so that the answer is the reference's but for rounding.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.fitting import pasted
from llmdbg.debugger.comparison.grafting import OwnErrors, grafted, paired
from llmdbg.debugger.comparison.lockstep import forced_run, run_in_lockstep, watched_addresses
from llmdbg.debugger.comparison.minimizing import smallest
from llmdbg.debugger.comparison.outcome import Bisection, FindingKind
from llmdbg.debugger.comparison.stage_errors import ErrorTable
from llmdbg.errors import LlmdbgError
from llmdbg.formatting import counted, listed, quote
from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from llmdbg.debugger.comparison.lockstep import StageValues
    from llmdbg.debugger.comparison.outcome import Finding, Parting
    from llmdbg.debugger.comparison.pair import Pair
    from llmdbg.debugger.comparison.side import FreeRun
    from llmdbg.engine.stage_event import StageEvent

MOST_RUNS = 150
"""How often the candidate is run at most."""
_REPAIRED_ERROR = 0.1
"""The share of the logits' error that may remain where the texts do not part."""
_LOGITS = "logits"
_MOST_NAMED = 8
_ELSEWHERE = (FindingKind.INPUT, FindingKind.SETTINGS)


def bisect(
    pair: Pair, reference: FreeRun, parting: Parting | None, findings: Sequence[Finding], report: Callable[[str], None]
) -> Bisection:
    """Find which stages of the candidate repair its answer.

    `findings` are those of the comparison: of what no stage computes, they say why nothing repairs it. Raises
    LlmdbgError if the reference fails.
    """
    return _Bisecting(pair, reference, parting, findings, report).find()


def nothing_to_bisect(why: str) -> Bisection:
    """The outcome of a search that was not made."""
    return Bisection((), why, 0)


@dataclass(frozen=True, slots=True)
class _Answer:
    """How the candidate answers with some stages repaired."""

    chosen: int | None
    """The id at the token in question; None if the run failed before."""
    error: float | None
    """The error of the logits; None if it could not be measured."""


class _OutOfRunsError(Exception):
    """The candidate has been run as often as it may be."""


class _Bisecting:
    def __init__(
        self,
        pair: Pair,
        reference: FreeRun,
        parting: Parting | None,
        findings: Sequence[Finding],
        report: Callable[[str], None],
    ) -> None:
        self.pair = pair
        self.report = report
        # Where one text ends, no stage has chosen the end.
        self.parting = None if parting is None or None in (parting.pair.reference, parting.pair.candidate) else parting
        self.ids = reference.ids if self.parting is None else reference.ids[: self.parting.token + 1]
        self.vocabulary = reference.debuggee.vocabulary
        self.elsewhere = [each for each in findings if each.kind in _ELSEWHERE]
        self.runs = 0
        self.logits: list[StageValues] = []
        self.own = OwnErrors(())
        self.known: dict[frozenset[str], bool] = {}
        self.best: tuple[str, ...] = ()
        self.answers: dict[frozenset[str], _Answer] = {}
        self.before = self.after = _Answer(None, None)

    def find(self) -> Bisection:
        anatomy = self.pair.our_anatomy
        stages = watched_addresses(anatomy, ())
        frontier = [each.address for each in anatomy.stages if each.address in stages and not anatomy.enclosing(each)]
        if (failure := self._measure(frontier)) is not None:
            return self._outcome((), f"nothing was repaired: on the reference's values the candidate fails: {failure}")
        self.before = self._run(())
        if (why := self._nothing_to_do()) is not None:
            return self._outcome((), why)
        pool = self._differing(frontier)
        if not pool or not self._repairs(pool):
            return self._outcome((), self._irreparable(pool))
        complete = True
        try:
            self._search(frontier, pool)
        except _OutOfRunsError:
            complete = False
        return self._outcome(self.best, self._repaired(complete), complete=complete)

    def _search(self, frontier: list[str], pool: list[str]) -> None:
        chosen, opened = smallest(pool, self._repairs), set[str]()
        while inner := {each: self._parts(each) for each in chosen if each not in opened and self._parts(each)}:
            opened |= inner.keys()
            frontier += [part for parts in inner.values() for part in parts]
            order = {each.address: at for at, each in enumerate(self.pair.our_anatomy.stages)}
            self._measure(frontier)
            wanted = [*chosen, *(part for parts in inner.values() for part in parts)]
            pool = self._differing(sorted(wanted, key=order.__getitem__))
            # Parts that do not repair what the whole did: rounding decides, and the whole is the answer.
            if not pool or not self._repairs(pool):
                return
            chosen = smallest(pool, self._repairs)

    def _parts(self, address: str) -> list[str]:
        """The stages directly inside one."""
        anatomy = self.pair.our_anatomy
        outer = {each.address: anatomy.enclosing(each) for each in anatomy.stages if each.address in anatomy.modules}
        return [each for each, around in outer.items() if around and around[0].address == address]

    def _differing(self, addresses: Sequence[str]) -> list[str]:
        differing = self.own.differing()
        return [each for each in addresses if each in differing]

    def _measure(self, frontier: Collection[str]) -> LlmdbgError | None:
        """Measure what each of `frontier` adds by itself, in a run where each is then given the reference's value."""
        self.report(f"bisecting: measuring what {counted(len(frontier), 'stage')} add by themselves")
        own, padding = OwnErrors(frontier), self.pair.padding
        anatomy, alone = self.pair.our_anatomy, self.pair.watch_grafted()
        logits: list[StageValues] = []

        def watch(event: StageEvent, reference: StageValues | None) -> None:
            if reference is None:
                return
            if event.stage.address == _LOGITS:
                logits.append(reference)
            if event.stage.address in own.addresses:
                output, around = event.output, anatomy.enclosing(event.stage)
                if around:
                    # What reaches a part in another way than from other stages is what the module around it adds.
                    output = alone.isolated(event, reference)
                    own.keep(event, event.output, output, padding, owner=around[0].address)
                own.keep(event, output, reference.output, padding)
                event.output = grafted(event.output, reference.output, lambda a, b: pasted(a, b, padding))

        follower = self.pair.following(watch)
        self.runs += 1
        run_in_lockstep(self.pair.reference.debuggee(), self.ids, [follower])
        self.own, self.logits = own, logits
        # Shares of what was measured before are not those of what is measured now.
        self.known, self.answers = {}, {}
        return follower.failure

    def _repairs(self, addresses: Sequence[str]) -> bool:
        key = frozenset(addresses)
        if key not in self.known:
            if self.runs >= MOST_RUNS:
                raise _OutOfRunsError
            self.answers[key] = answer = self._run(addresses)
            self.known[key] = self._is_repaired(answer)
        if self.known[key]:
            self.best, self.after = tuple(addresses), self.answers[key]
        return self.known[key]

    def _is_repaired(self, answer: _Answer) -> bool:
        if self.parting is not None:
            return answer.chosen == self.parting.pair.reference
        if answer.error is None or self.before.error is None:
            return False
        return answer.error <= _REPAIRED_ERROR * self.before.error

    def _run(self, addresses: Sequence[str]) -> _Answer:
        """Run the candidate with some stages repaired, over the reference's tokens up to the one in question."""
        self.runs += 1
        repaired = counted(len(addresses), "stage") if addresses else "no stages"
        self.report(f"bisecting: run {self.runs}, {repaired} repaired")
        own, errors = self.own.only(addresses), ErrorTable()

        def see(event: StageEvent) -> None:
            event.output = own.taken_back(event)
            asked = event.token if self.parting is None else len(self.ids) - 1
            if event.stage.address == _LOGITS and event.token == asked < len(self.logits):
                values = paired(event.output, self.logits[asked].output, self.pair.padding)
                errors.add((0, _LOGITS), values)

        debuggee = self.pair.candidate.debuggee(prompt=self.pair.prompt)
        watched = own.places() | {_LOGITS}
        chosen = None
        try:
            with closing(forced_run(debuggee, self.ids[:-1], frozenset({SAMPLE.address}), see, watched)) as events:
                for event in events:
                    if event.token + 1 >= len(self.ids):
                        chosen = event.chosen
                        break
        except LlmdbgError:
            return _Answer(None, None)
        error = errors.at(0, _LOGITS)
        return _Answer(chosen, None if error is None or error.shape_differs else error.relative)

    def _nothing_to_do(self) -> str | None:
        """Why no stage has to be repaired; None if one has."""
        if self.parting is not None and self._is_repaired(self.before):
            chooses = f"on the reference's input and tokens the candidate chooses {self._wanted()}"
            return self._and_elsewhere(f"there is nothing to repair: {chooses}")
        if self.parting is None and not self.before.error:
            return self._and_elsewhere("there is nothing to repair: the logits are the same")
        return None

    def _irreparable(self, pool: Sequence[str]) -> str:
        if not pool:
            why = "given the reference's values, every stage returns them"
            return self._and_elsewhere(f"there is nothing to repair: {why}")
        if self.parting is not None:
            return self._and_elsewhere(f"no stages repair the answer: with all of them repaired {self._still()}")
        before, left = self.before.error, self.answers[frozenset(pool)].error
        errors = "" if before is None or left is None else f": with all of them, {left:.2g} of {before:.2g} remains"
        return self._and_elsewhere(f"no stages repair 90% of the error of the logits{errors}")

    def _and_elsewhere(self, sentence: str) -> str:
        """A sentence, and what differs outside of the stages."""
        return "; ".join((sentence, *(f"what differs is no stage's: {each.sentence}" for each in self.elsewhere)))

    def _wanted(self) -> str:
        assert self.parting is not None
        return f"{quote(self.parting.pair.reference_text)} at token {self.parting.token} too"

    def _still(self) -> str:
        assert self.parting is not None
        return f"it does not choose {quote(self.parting.pair.reference_text)} at token {self.parting.token}"

    def _repaired(self, complete: bool) -> str:
        names = [*self.best[:_MOST_NAMED]]
        names += [counted(len(self.best) - _MOST_NAMED, "more stage")] if len(self.best) > _MOST_NAMED else []
        adds = "adds by itself" if len(self.best) == 1 else "add by themselves"
        sentence = f"without what {listed(names)} {adds}, "
        before, after = self.before.error, self.after.error
        errors = (
            "" if before is None or after is None else f"the error of the logits falls from {before:.2g} to {after:.2g}"
        )
        if self.parting is None:
            sentence += errors
        else:
            token, pair = self.parting.token, self.parting.pair
            sentence += f"the candidate chooses {quote(pair.reference_text)} at token {token} as the reference does"
            sentence += f" ({errors})" if errors else ""
        if not complete:
            sentence += f"; stopped after {self.runs} runs, so fewer stages may do"
        return sentence

    def _outcome(self, stages: tuple[str, ...], sentence: str, *, complete: bool = True) -> Bisection:
        return Bisection(
            stages,
            sentence,
            self.runs,
            complete,
            None if self.parting is None else self.parting.token,
            self._text(self.before),
            self._text(self.after) if stages else "",
            self.before.error,
            self.after.error if stages else None,
        )

    def _text(self, answer: _Answer) -> str:
        if self.parting is None or answer.chosen is None:
            return ""
        return self.vocabulary.text(answer.chosen)
