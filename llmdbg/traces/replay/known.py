"""What a recording knows of a stage's output without the tensor itself: the numbers that stops and conditions need.

All that a debugger asks of a tensor that was not kept is answered here. What was not recorded is None or left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from llmdbg.models.stages import StageKind
from llmdbg.probes.quantities import OF_OUTPUT, QuantityValue, is_of_prediction, of_token

if TYPE_CHECKING:
    from llmdbg.models.stages import Stage
    from llmdbg.probes.candidates import Candidate, Candidates, ChosenToken
    from llmdbg.probes.statistics import Statistics
    from llmdbg.probes.value_statistics import ValueStatistics
    from llmdbg.traces.records import CandidateRecord, RunHeader, ScoresRecord, StageRecord

_BY_POSITION = (StageKind.EMBED, StageKind.LAYER, StageKind.MODULE, StageKind.NORM)
_FOLLOWED = 5  # as `probes/candidates.py` does


@dataclass(frozen=True, slots=True)
class KnownOutput:
    """A stage's output, as far as it was recorded."""

    stage: Stage
    """The stage."""
    record: StageRecord
    """What was recorded of its output."""
    header: RunHeader
    """The recorded run's."""
    scores: tuple[ScoresRecord, ...] = ()
    """The scores from the raw logits to this stage; empty before the logits."""
    chosen: int | None = None
    """At `sample`, the token that was chosen."""
    prob: float | None = None
    """Its probability where it was chosen, from 0 to 1."""
    length: int | None = None
    """Over how many positions the forward ran; None if that was not recorded."""
    absent: str = ""
    """Why nothing is known of what a rank held of it, in a line; empty if it is."""

    @property
    def has_scores(self) -> bool:
        """Whether the stage comes after a forward: it is about the last position alone."""
        return bool(self.scores)

    @property
    def keeps_outputs(self) -> bool:
        """Whether whole outputs were kept of every stage."""
        return self.header.tensors in ("all", "inputs")

    def missing(self, *, inputs: bool = False) -> str:
        """That the values of the output, or of what the stage takes, are not there, and how they are recorded."""
        address = self.stage.address
        if self.absent:
            return self.absent
        if inputs:
            return f"what {address} takes was not recorded: `llmdbg record --tensors inputs` keeps it"
        what = f"the values of {address}"
        if self.record.tensors == ("last",):
            what = f"the values of {address} at all positions but the last"
        return f"{what} were not recorded: `llmdbg record --tensors all` keeps them"

    @property
    def numbers(self) -> ValueStatistics | None:
        """The recorded statistics, None for none. A mean that infinities have a part in is NaN."""
        found = self.record.statistics
        return found if found is None or not found.inf or math.isfinite(found.mean) else replace(found, mean=math.nan)

    def statistics(self, first: int, length: int) -> Statistics:
        """The statistics of the output. The forward runs over `length` positions, from `first` on.

        Where that is one, its vector is the whole output; of several, none is known.
        """
        from llmdbg.probes.statistics import Statistics, position_axis_of

        record = self.record
        alone = length == 1 and position_axis_of(record.shape, 1) is not None and self.numbers is not None
        cut = in_play = None
        if self.stage.kind is StageKind.PROCESSOR and self.scores and self.scores[-1].left is not None:
            cut = math.prod(record.shape) - self.scores[-1].left
            in_play = None if cut else self.numbers
        missing = ""
        if self.numbers is None and 0 not in record.shape:
            missing = self.absent or "its statistics were not recorded"
        elif cut:
            missing = "the statistics of the tokens in play were not recorded"
        elif self.numbers is not None and length > 1 and not self.has_scores and self.stage.kind in _BY_POSITION:
            missing = "the numbers of single positions were not recorded"
        return Statistics(
            record.shape,
            record.dtype,
            record.device,
            self.numbers,
            self.numbers if alone else None,
            first if alone else None,
            cut,
            in_play,
            missing,
        )

    def candidates(self, text_of: Callable[[int], str], top: int) -> tuple[Candidates | None, ChosenToken | None]:
        """The recorded candidates at this stage and, at `sample`, the token that was chosen."""
        from llmdbg.probes.candidates import Candidates

        chosen = self._chosen_token(text_of)
        if not self.scores:
            return None, chosen
        here, raw = self.scores[-1], self.scores[0]
        if here.entropy is None or here.left is None:
            return None, chosen
        rows = self._rows(text_of)[:top]
        shown = {each.id for each in rows}
        former = () if len(self.scores) == 1 else tuple(self._former(raw, shown, text_of))
        cuts = tuple((each.address, each.cut) for each in self.scores[1:] if each.cut)
        size = self.record.shape[-1] if self.stage.kind is not StageKind.SAMPLE and self.record.shape else None
        size = (raw.left or 0) if size is None else size
        return Candidates(here.address, tuple(rows), here.entropy, here.left, size, cuts, former), chosen

    def measure(self, names: Collection[str], tokens: Mapping[str, int]) -> dict[str, QuantityValue]:
        """Those of `names` that were recorded. `tokens` are the ids of the texts in `rank("…")` and `prob("…")`."""
        found: dict[str, QuantityValue] = {}
        if (numbers := self.numbers) is not None and any(name in OF_OUTPUT for name in names):
            found = {name: getattr(numbers, name) for name in ("min", "max", "mean", "std", "norm", "nan", "inf")}
            found["absmax"] = max(abs(numbers.min), abs(numbers.max))
        if self.scores and any(map(is_of_prediction, names)):
            found |= self._of_prediction(tokens)
        return {name: value for name, value in found.items() if name in names}

    def prob_at(self, address: str, id: int) -> float | None:
        """A token's probability after one of the stages so far; None if it was not recorded."""
        return next((_prob(each, id) for each in self.scores if each.address == address), None)

    def raw_probability(self) -> float | None:
        """The probability that the raw logits gave to the chosen token; None if it is not among what was recorded."""
        if not self.scores or self.chosen is None:
            return None
        return self.prob if len(self.scores) == 1 else _prob(self.scores[0], self.chosen)

    def _chosen_token(self, text_of: Callable[[int], str]) -> ChosenToken | None:
        from llmdbg.probes.candidates import ChosenToken

        if self.chosen is None:
            return None
        rank = _rank(self.scores[-1], self.chosen) if self.scores else None
        return ChosenToken(self.chosen, text_of(self.chosen), math.nan if self.prob is None else self.prob, rank)

    def _of_prediction(self, tokens: Mapping[str, int]) -> dict[str, QuantityValue]:
        here = self.scores[-1]
        found: dict[str, QuantityValue] = {"entropy": here.entropy}
        if here.candidates:
            found |= {"top1": here.candidates[0].text, "top1_prob": here.candidates[0].prob}
        for text, id in tokens.items():
            found |= {of_token("prob", text): _prob(here, id), of_token("rank", text): _rank(here, id)}
        return {name: value for name, value in found.items() if value is not None}

    def _rows(self, text_of: Callable[[int], str]) -> list[Candidate]:
        """The recorded candidates, then those known to be cut, in the order of their earlier scores."""
        here = self.scores[-1]
        ids = [each.id for each in here.candidates]
        if here.left is not None and here.left <= len(ids):
            for earlier in reversed(self.scores[:-1]):
                ids += [each.id for each in earlier.candidates if each.id not in ids]
        return [self._candidate(id, rank, text_of) for rank, id in enumerate(ids[: max(10, len(here.candidates))], 1)]

    def _former(self, raw: ScoresRecord, shown: set[int], text_of: Callable[[int], str]) -> list[Candidate]:
        """The raw logits' first ones that are not shown but whose rank here is known."""
        found = []
        for each in raw.candidates[:_FOLLOWED]:
            rank = _rank(self.scores[-1], each.id)
            if each.id not in shown and rank is not None:
                found.append(self._candidate(each.id, rank, text_of))
        return found

    def _candidate(self, id: int, rank: int, text_of: Callable[[int], str]) -> Candidate:
        """One token, with its scores at the stages where they are known."""
        from llmdbg.probes.candidates import Candidate, ScoreStep

        path = []
        cut_by: str | None = None
        for step in self.scores:
            known = next((each for each in step.candidates if each.id == id), None)
            if known is not None:
                path.append(ScoreStep(step.address, known.logit, known.prob))
            elif step.left is not None and step.left <= len(step.candidates):
                path.append(ScoreStep(step.address, -math.inf, 0.0))
                cut_by = cut_by or step.address
        raw_rank = _rank(self.scores[0], id)
        leads = raw_rank is not None and raw_rank <= _FOLLOWED
        fell_at = self._fell_at(id) if leads else None
        last = path[-1]
        return Candidate(
            rank, id, text_of(id), last.logit, last.prob, cut_by, tuple(path), raw_rank if leads else None, fell_at
        )

    def _fell_at(self, id: int) -> str | None:
        """The stage after which a token lost the most ranks, where all its ranks are known."""
        ranks = [_rank(step, id) for step in self.scores]
        falls = [after - before for before, after in pairwise(ranks) if before and after]
        most = max(falls, default=0)
        if len(falls) < len(ranks) - 1 or most <= 0:
            return None
        return self.scores[1 + falls.index(most)].address


def _found(scores: ScoresRecord, id: int) -> CandidateRecord | None:
    return next((each for each in scores.candidates if each.id == id), None)


def _prob(scores: ScoresRecord, id: int) -> float | None:
    """A token's probability: 0 where it is known to be cut, None where it is not known."""
    if (found := _found(scores, id)) is not None:
        return found.prob
    return 0.0 if scores.left is not None and scores.left <= len(scores.candidates) else None


def _rank(scores: ScoresRecord, id: int) -> int | None:
    """A token's rank, 1 for the likeliest: how many recorded scores are higher. One behind all that are left if cut."""
    if (found := _found(scores, id)) is not None:
        return 1 + sum(each.logit > found.logit for each in scores.candidates)
    return len(scores.candidates) + 1 if _prob(scores, id) == 0.0 else None
