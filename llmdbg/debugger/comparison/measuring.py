"""Measuring what rounding does to each stage, and what the candidate's stage does beyond it.

One walk in lockstep. The reference runs as exactly as memory allows, its tokens forced. Beside it, each stage on the
exact reference's values:
- the reference in its own dtype, in the candidate's and in float32: what rounding does to each stage, the floor;
- the candidate in its own dtype: the stage's isolated error.
Then a second walk: the candidate as exactly as the reference, and with the reference's weights where the two agree.

Where no exact copy fits into memory, the floor is what the reference does to values with noise in their last bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.judge import MeasuredErrors, Measurements
from llmdbg.debugger.comparison.lockstep import run_in_lockstep
from llmdbg.debugger.comparison.variants import converted, exactly, has_room, in_dtypes_of, is_convertible
from llmdbg.debugger.comparison.weights import named_weights
from llmdbg.errors import LlmdbgError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel

    from llmdbg.debugger.comparison.grafting import Grafted
    from llmdbg.debugger.comparison.pair import Pair
    from llmdbg.debugger.comparison.weights import WeightName


class Precision(Enum):
    """How exactly the reference runs while stages are compared."""

    FLOAT64 = torch.float64
    FLOAT32 = torch.float32
    AS_IT_IS = None


_EXACT_LAST_BIT = {Precision.FLOAT64: 2.0**-24, Precision.FLOAT32: 2.0**-21, Precision.AS_IT_IS: 2.0**-21}
"""What the most exact run still rounds: forwards compute norms and softmax in float32 whatever their dtype is."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, and the candidate's grafted run, which knows what reached each stage."""

    errors: Measurements
    watch: Grafted


def measure(
    pair: Pair, ids: Sequence[int], agreeing: frozenset[WeightName], precision: Precision | None = None
) -> Measured:
    """Measure every stage of the candidate over the tokens `ids`, as exactly as possible, or as `precision` says.

    `agreeing` names the weights that are the reference's but for rounding. Raises LlmdbgError if the reference fails
    in its own dtype.
    """
    for each in _precisions(pair, precision):
        try:
            return _measured(pair, ids, agreeing, each)
        except (LlmdbgError, torch.OutOfMemoryError) as error:
            if each is Precision.AS_IT_IS:
                raise
            pair.notes.append(f"the reference could not be run in {each.name.lower()}: {error}")
    raise AssertionError("the last precision always returns or raises")


def _precisions(pair: Pair, wanted: Precision | None) -> Iterator[Precision]:
    """The precisions to try, the most exact first."""
    model = pair.reference.loaded.model
    if wanted is None and is_convertible(model):
        for each in (Precision.FLOAT64, Precision.FLOAT32):
            is_another = each is Precision.FLOAT64 or not _is_float32(model)
            if is_another and has_room(model, each.value, pair.notes):
                yield each
    elif wanted not in (None, Precision.AS_IT_IS):
        yield wanted
    yield Precision.AS_IT_IS


def _measured(pair: Pair, ids: Sequence[int], agreeing: frozenset[WeightName], precision: Precision) -> Measured:
    reference, candidate = pair.reference.loaded.model, pair.candidate.loaded.model
    if precision is Precision.AS_IT_IS:
        return _measured_as_it_is(pair, ids)
    exact = converted(reference, precision.value)
    follower, ours = pair.grafted()
    first, own = pair.reference_grafted(reference)
    followers, alike, single = [follower, first], own, own
    if not _same_dtypes(pair):
        other, alike = pair.reference_grafted(in_dtypes_of(reference, pair.anatomy, pair.ours))
        followers.append(other)
    if not _is_float32(reference):
        other, single = pair.reference_grafted(
            exact if precision is Precision.FLOAT32 else converted(reference, torch.float32)
        )
        followers.append(other)
    run_in_lockstep(pair.reference.debuggee(exact), ids, followers)
    if follower.failure is not None:
        pair.note_failure("on the reference's values", follower.failure)
    function = _function(pair, exact, ids, agreeing, precision)
    errors = Measurements(
        candidate=_read(ours),
        function=None if function is None else _read(function),
        reference=_read(own),
        reference_like_candidate=_read(alike),
        reference_in_float32=_read(single),
        last_bit=max(_last_bit(reference), _last_bit(candidate)),
        exact_last_bit=_EXACT_LAST_BIT[precision],
        stage_map=pair.stage_map,
    )
    return Measured(errors, ours)


def _measured_as_it_is(pair: Pair, ids: Sequence[int]) -> Measured:
    """Without any copy: the reference as it is, and what noise in the last bits of its values does to each stage."""
    reference, candidate = pair.reference.loaded.model, pair.candidate.loaded.model
    follower, ours = pair.grafted()
    first, own = pair.reference_grafted(reference, noise=_last_bit(reference))
    second, alike = pair.reference_grafted(reference, noise=_last_bit(candidate))
    run_in_lockstep(pair.reference.debuggee(), ids, [follower, first, second])
    if follower.failure is not None:
        pair.note_failure("on the reference's values", follower.failure)
    errors = Measurements(
        candidate=_read(ours),
        function=None,
        reference=_read(own),
        reference_like_candidate=_read(alike),
        reference_in_float32=_read(own),
        last_bit=max(_last_bit(reference), _last_bit(candidate)),
        exact_last_bit=_EXACT_LAST_BIT[Precision.AS_IT_IS],
        stage_map=pair.stage_map,
    )
    return Measured(errors, ours)


def _function(
    pair: Pair, exact: PreTrainedModel, ids: Sequence[int], agreeing: frozenset[WeightName], precision: Precision
) -> Grafted | None:
    """The candidate as exact as the reference, with its weights; None if it cannot be run so."""
    candidate = pair.candidate.loaded.model
    dtype = precision.value
    assert dtype is not None
    if not is_convertible(candidate):
        pair.notes.append("the candidate's weights cannot be converted, so it was run in its own dtype alone")
        return None
    weights = pair.stage_map.weights(named_weights(exact, pair.reference.debuggee(exact).anatomy), pair.ours)
    with exactly(candidate, pair.our_anatomy, dtype, weights, agreeing):
        follower, watch = pair.grafted()
        run_in_lockstep(pair.reference.debuggee(exact), ids, [follower])
    if follower.failure is not None:
        pair.note_failure(f"in {precision.name.lower()}", follower.failure)
        return None
    return watch


def _read(run: Grafted) -> MeasuredErrors:
    return MeasuredErrors(run.errors.overall(), run.inputs.overall())


def _same_dtypes(pair: Pair) -> bool:
    """Whether both have their parameters in the same dtypes, and each buffer that both have too."""
    models = pair.reference.loaded.model, pair.candidate.loaded.model
    one, other = ({each.dtype for each in model.parameters()} for model in models)
    both = pair.theirs.keys() & pair.ours.keys()
    return one == other and all(pair.theirs[name].dtype == pair.ours[name].dtype for name in both)


def _is_float32(model: PreTrainedModel) -> bool:
    return {each.dtype for each in model.parameters()} == {torch.float32}


def _last_bit(model: PreTrainedModel) -> float:
    floats = (each.dtype for each in model.parameters() if each.is_floating_point())
    return max((torch.finfo(each).eps / 2 for each in floats), default=0.0)
