"""Some of the planted faults and noise of `make planted`: those that were once misnamed, and one of each sort."""

from __future__ import annotations

import pytest
import torch

from benchmarks.planted import noise
from benchmarks.planted.noise import NoisePair
from benchmarks.planted.running import Case, run
from llmdbg.debugger.comparison.outcome import FindingKind
from llmdbg.debugger.comparison.weights import agree
from tests.debugger.comparison.sides import planted
from tests.tiny import tiny_model

BOTH = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])


@BOTH
@pytest.mark.parametrize(
    "case",
    [
        Case("another activation function", "qwen3_moe", 0),
        Case("float16 overflows", "llama", 0),
        Case("a bias dropped", "mamba", 1),
        Case("a bias dropped", "gpt2", 0),
    ],
    ids=str,
)
def test_a_fault_is_named_at_its_own_stage(case: Case, dtype: str) -> None:
    """Not where it shows, nor where the model fails because of it."""
    found = run(case, dtype)
    assert found.named in found.fault.right, found.found.findings


@pytest.mark.parametrize(
    "pair",
    [
        NoisePair("llama", 1, dtype="bfloat16", base="float16"),
        NoisePair("gpt2", 1, dtype="float16", base="bfloat16"),
        NoisePair("mixtral", 52, padding=1),
        NoisePair("gemma2", 18, padding=8, cache="static"),
        NoisePair("gemma2", 88, cache="static"),
        NoisePair("qwen3_moe", 3, threads=2, kernel="eager"),
    ],
    ids=str,
)
def test_noise_accuses_nobody(pair: NoisePair) -> None:
    """Dtypes that round differently, experts that only padding reaches, keys of a static cache that are not there."""
    assert noise.run(pair).found.findings == ()


def test_a_weight_that_no_token_needs_is_compared_too() -> None:
    """All values of the run are equal, but not those of the next prompt."""
    model = tiny_model("llama")
    found = planted(model, lambda other: other.get_input_embeddings().weight.data[120].mul_(2))
    assert found.first is not None
    assert (found.first.kind, found.first.address) == (FindingKind.WEIGHTS, "embed")


def test_weights_agree_if_some_numbers_round_to_both() -> None:
    """Two half dtypes of the same numbers agree, and a last bit more does not."""
    exact = torch.randn(500, generator=torch.Generator().manual_seed(0)) * 10.0 ** torch.arange(-5, 0).repeat(100)
    half, brain = exact.to(torch.float16), exact.to(torch.bfloat16)
    assert agree(half, brain)
    assert agree(brain, half)
    assert agree(exact, half)
    assert not agree(half, brain * 1.01)
    assert not agree(exact, (exact * 1.001).to(torch.float16))
