"""What runs under llmdbg is bitwise what runs without it."""

import pytest
import torch

from tests.engine.runs import GREEDY, PROMPT, SAMPLED, Run, hooks_on, under_llmdbg, untouched
from tests.tiny import EXTRA, REQUIRED, attention_implementations, tiny_model

SETTINGS = {"greedy": GREEDY, "sampled": SAMPLED}
VARIANTS = [
    (name, dtype, attn)
    for name in REQUIRED
    for dtype in (torch.float32, torch.bfloat16)
    for attn in attention_implementations(name) or (None,)
]


def assert_bitwise_equal(got: Run, wanted: Run) -> None:
    assert got.ids == wanted.ids
    for got_each, wanted_each in ((got.logits, wanted.logits), (got.scores, wanted.scores)):
        assert len(got_each) == len(wanted_each) == len(wanted.ids)
        for token, (a, b) in enumerate(zip(got_each, wanted_each, strict=True)):
            assert torch.equal(a, b), f"token {token} differs by {(a - b).abs().max()}"


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(("name", "dtype", "attn"), VARIANTS, ids=[f"{n}-{str(d)[6:]}-{a}" for n, d, a in VARIANTS])
def test_ids_and_logits_are_those_of_generate(name, dtype, attn, settings):
    model = tiny_model(name, dtype=dtype, attn=attn)
    wanted = untouched(model, PROMPT, settings)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=False), wanted)
    stepped = under_llmdbg(model, PROMPT, settings, everything=True)
    assert_bitwise_equal(stepped, wanted)
    assert stepped.stops > len(wanted.ids) * 10, "it was to stop at every module"
    assert hooks_on(model) == 0


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", EXTRA)
def test_other_architectures_too(name, settings):
    model = tiny_model(name)
    wanted = untouched(model, PROMPT, settings)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=False), wanted)
    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=True), wanted)


def test_eos_ends_the_run_where_generate_ends():
    model = tiny_model("llama")
    ids = untouched(model, PROMPT, GREEDY).ids
    model.generation_config.eos_token_id = ids[5]

    wanted = untouched(model, PROMPT, GREEDY)

    assert len(wanted.ids) < len(ids), "the model was to end early"
    assert_bitwise_equal(under_llmdbg(model, PROMPT, GREEDY, everything=True), wanted)


def test_chunked_prefill_is_followed():
    model = tiny_model("llama")
    model.generation_config.prefill_chunk_size = 5

    wanted = untouched(model, PROMPT, GREEDY)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, GREEDY, everything=True), wanted)


def test_a_run_without_a_cache_is_followed():
    model = tiny_model("llama")
    model.generation_config.use_cache = False

    wanted = untouched(model, PROMPT, GREEDY)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, GREEDY, everything=True), wanted)


@pytest.mark.parametrize("implementation", ["static", "dynamic"])
def test_other_caches_are_followed(implementation):
    model = tiny_model("llama")
    model.generation_config.cache_implementation = implementation

    wanted = untouched(model, PROMPT, GREEDY)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, GREEDY, everything=True), wanted)


@pytest.mark.cuda
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", REQUIRED)
def test_on_cuda(name, settings, cuda):
    model = tiny_model(name, dtype=torch.bfloat16).to(cuda)
    wanted = untouched(model, PROMPT, settings)

    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=False), wanted)
    assert_bitwise_equal(under_llmdbg(model, PROMPT, settings, everything=True), wanted)
