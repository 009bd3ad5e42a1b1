"""What conditions measure is what the panes show, for one copy to the host."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdbg.probes.candidates import candidates
from llmdbg.probes.measures import measure, needs_output, needs_scores
from llmdbg.probes.quantities import NAMES, OF_OUTPUT, OF_PREDICTION, of_token
from llmdbg.probes.statistics import measure as measure_all
from llmdbg.probes.statistics import read

SHAPES = st.lists(st.integers(1, 6), min_size=0, max_size=4)
DTYPES = st.sampled_from(
    [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64]
)


def same(one, other):
    return one == other or (math.isnan(one) and math.isnan(other))


def shown(tensor):
    """What the statistics of a stop say, and the magnitude."""
    [numbers] = read([measure_all(tensor)])
    named = {name: getattr(numbers, name) for name in OF_OUTPUT if name != "absmax"}
    values = (tensor.abs() if tensor.is_complex() else tensor).to(torch.float32)
    return named | {"absmax": values.abs().max().item()}


@settings(deadline=None, max_examples=80)
@given(
    shape=SHAPES,
    dtype=DTYPES,
    names=st.sets(st.sampled_from(list(OF_OUTPUT)), min_size=1),
    hostile=st.lists(st.sampled_from([math.nan, math.inf, -math.inf]), max_size=3),
)
def test_numbers_are_exactly_those_of_the_statistics(shape, dtype, names, hostile):
    tensor = torch.randn(shape) * 5
    if dtype.is_floating_point:
        tensor.view(-1)[: len(hostile)] = torch.tensor(hostile)[: tensor.numel()]
    tensor = tensor.to(dtype)
    got, wanted = measure(names, tensor), shown(tensor)

    assert got.keys() == names
    for name in names:
        assert same(got[name], wanted[name]), name
        assert type(got[name]) is (int if name in ("nan", "inf") else float)


def test_large_tensors_agree_too():
    tensor = torch.randn(3, 501, 577, generator=torch.Generator().manual_seed(0)) * 30
    for kind in (tensor, tensor.to(torch.bfloat16), tensor.transpose(1, 2)):
        assert measure(list(OF_OUTPUT), kind) == shown(kind)


def test_counts_beyond_what_float32_can_hold_are_exact():
    count = 2**24 + 1

    assert measure(["inf", "norm"], torch.full((count,), math.inf, dtype=torch.float16))["inf"] == count


def test_complex_values_are_measured_by_their_magnitude():
    got = measure(["min", "max", "norm"], torch.tensor([-3 + 4j, 0j, -1 + 0j]))

    assert (got["min"], got["max"]) == (0.0, 5.0)
    assert got["norm"] == pytest.approx(math.sqrt(26))


def scores_of(seed=0, vocabulary=50):
    return torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


def test_predictions_are_those_of_the_candidates():
    scores = scores_of()
    scores[0, :5] = -math.inf  # as a logits processor leaves it
    found, _ = candidates([("logits", scores)], lambda id: f"<{id}>", top=50)
    tokens = {row.text: row.id for row in found.rows}
    names = [*OF_PREDICTION, *(of_token(function, text) for function in ("rank", "prob") for text in tokens)]

    got = measure(names, None, scores=scores, tokens=tokens, text_of=lambda id: f"<{id}>")

    assert got.keys() == set(names)
    assert (got["top1"], got["entropy"], got["top1_prob"]) == (
        found.rows[0].text,
        found.entropy,
        found.rows[0].prob,
    )
    for row in found.rows:
        assert got[of_token("prob", row.text)] == row.prob
        if row.logit > -math.inf:
            assert got[of_token("rank", row.text)] == row.rank


def test_equal_scores_share_the_better_rank():
    scores = torch.tensor([1.0, 3.0, 3.0, 2.0])
    names = [of_token("rank", text) for text in "abcd"]

    got = measure(names, None, scores=scores, tokens=dict(zip("abcd", range(4), strict=True)))

    assert list(got.values()) == [4, 1, 1, 3]


def test_scores_that_are_nan_make_no_token_the_likeliest():
    got: dict[str, Any] = measure(
        ['rank("a")', 'prob("a")', "entropy"], None, scores=torch.full((1, 9), math.nan), tokens={"a": 3}
    )

    assert got['rank("a")'] > 1
    assert math.isnan(got['prob("a")'])
    assert math.isnan(got["entropy"])


def test_what_cannot_be_known_is_left_out():
    everything = [*NAMES, 'rank("a")', 'prob("a")']

    assert measure(everything, None) == {}
    assert measure(everything, torch.zeros(0, 4), scores=torch.zeros(0)) == {}
    assert measure(everything, torch.ones(3)).keys() == set(OF_OUTPUT)
    assert measure(everything, None, scores=scores_of()).keys() == set(OF_PREDICTION)
    assert measure(everything, None, scores=scores_of(), tokens={"a": 50}).keys() == set(OF_PREDICTION)
    assert measure(["layer", "ms"], torch.ones(3), scores=scores_of()) == {}


def test_which_names_need_what():
    assert needs_output(["layer", "norm"])
    assert not needs_output(["layer", "top1", 'rank("norm")'])
    assert needs_scores(['prob("a")'])
    assert needs_scores(["entropy"])
    assert not needs_scores(["layer", "norm", "nan"])


def test_only_what_was_asked_for_is_answered_and_costs_kernels():
    with torch.profiler.profile() as profile:
        got = measure(["absmax"], torch.tensor([-3.0, 2.0]))

    assert got == {"absmax": 3.0}
    kernels = {event.key for event in profile.key_averages()}
    assert "aten::aminmax" in kernels
    assert kernels.isdisjoint({"aten::std_mean", "aten::isnan", "aten::square", "aten::_softmax"})


@pytest.mark.parametrize("names", [["norm"], ["nan"], [*NAMES, 'rank("a")', 'prob("a")']])
def test_everything_is_copied_to_the_host_once(monkeypatch, names):
    copies = []

    def counted(name):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *a, **k: copies.append(name) or real(self, *a, **k))

    for name in ("cpu", "item", "tolist", "__int__", "__float__", "__bool__"):
        counted(name)
    measure(names, torch.randn(1, 5, 8), scores=scores_of(), tokens={"a": 1})

    assert len(copies) == 1


def test_what_asks_for_gradients_is_measured_and_left_alone():
    tensor = torch.ones(4, requires_grad=True)

    assert measure(["norm"], tensor * 2, scores=tensor) == {"norm": 4.0}
    with torch.inference_mode():
        inside = torch.ones(4)
        assert measure(["norm", "entropy"], inside, scores=inside)["norm"] == 2.0


def test_the_tensor_is_not_changed():
    tensor, scores = torch.randn(1, 4, 8), scores_of()
    before = tensor.clone(), scores.clone()
    measure([*NAMES, 'rank("a")'], tensor, scores=scores, tokens={"a": 1})

    assert torch.equal(tensor, before[0])
    assert torch.equal(scores, before[1])


@pytest.mark.cuda
def test_on_two_devices_there_is_one_wait(cuda):
    """A CPU-offloaded layer and a head on the GPU."""
    tensor, scores = torch.randn(1, 4, 8), scores_of()
    names = [*OF_OUTPUT, *OF_PREDICTION]

    got = measure(names, tensor, scores=scores.to(cuda))

    wanted = measure(names, tensor, scores=scores)
    assert {name: got[name] for name in OF_OUTPUT} == {name: wanted[name] for name in OF_OUTPUT}
    assert got["entropy"] == pytest.approx(wanted["entropy"], rel=1e-4)
