"""Going back: a token that is run again is bitwise what it was, however it was reached."""

import random
from typing import Any

import pytest
import torch
import transformers

from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import main_tensor
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.models.anatomy import dissect
from tests.engine.runs import PROMPT, generation, hooks_on, untouched
from tests.tiny import ARCHITECTURES, REQUIRED, tiny_model

GREEDY = GenerationSettings(max_new_tokens=30, greedy=True)
SAMPLED = GenerationSettings(max_new_tokens=30, temperature=0.9, top_k=40, repetition_penalty=1.1, seed=5)


class Recorded:
    """An engine whose every event is kept, by token."""

    def __init__(self, model, settings=GREEDY, prompt=PROMPT):
        self.model = model
        self.engine = generation(model, list(prompt), settings)
        self.tokens = {}

    def run(self, start=0, until=None):
        """StageEvent everything from a token's forward on; give the run up in the middle of token `until`."""
        seen: dict[int, list[Any]] = {}
        stages = self.engine.events(start)

        def note(event):
            tensor = main_tensor(event.output)
            seen.setdefault(event.token, []).append((event.stage.address, None if tensor is None else tensor.clone()))
            return event.token == until and len(seen[event.token]) == 4

        every = [stage.address for stage in self.engine.anatomy.stages]
        self.engine.stops.arm([*every, *self._processors()], note)
        if start == 0:
            next(stages)
            self.engine.stops.arm([*every, *self._processors()], note)
        for event in stages:
            if event.ended_by is None:
                break
        self.ids = list(self.engine.timeline.ids)
        stages.close()
        return seen

    def _processors(self):
        return [stage.address for stage in self.engine.processors]


def same(one, other):
    assert [address for address, _ in one] == [address for address, _ in other]
    for (address, before), (_, after) in zip(one, other, strict=True):
        assert (before is None) == (after is None)
        assert before is None or (before.dtype == after.dtype and torch.equal(before, after)), address


def there_and_back(model, settings, jumps, prompt=PROMPT):
    recorded = Recorded(model, settings, prompt)
    first, ids = recorded.run(), recorded.ids
    last = max(first)
    for wanted, until in jumps:
        start = min(wanted, last)
        again = recorded.run(start, until)
        assert min(again) == start
        for token, events in again.items():
            same(first[token][: len(events)], events)
            assert token == until or len(events) == len(first[token])
        assert recorded.engine.timeline.differing() == ()
    assert recorded.engine.timeline.ids == ids
    assert hooks_on(model) == 0
    return recorded


def random_jumps(seed, count=8):
    chosen = random.Random(seed)
    starts = [chosen.randrange(30) for _ in range(count)]
    return [(start, min(29, start + chosen.randrange(4))) for start in starts] + [(0, 2), (29, None), (7, None)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_token_can_be_run_again_in_any_order(name):
    there_and_back(tiny_model(name), SAMPLED if len(name) % 2 else GREEDY, random_jumps(name))


@pytest.mark.parametrize("name", ["mistral", "gemma3", "llama", "mamba", "lfm2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sampled_and_greedy_in_other_dtypes(name, dtype):
    for settings in (GREEDY, SAMPLED):
        there_and_back(tiny_model(name, dtype=dtype), settings, random_jumps(1))


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
def test_static_caches(name):
    model = tiny_model(name)
    model.generation_config.cache_implementation = "static"
    there_and_back(model, SAMPLED, random_jumps(2))


@pytest.mark.parametrize("backend", ["fp8", "quanto"])
def test_quantised_caches(backend):
    if backend == "quanto":
        pytest.importorskip("optimum.quanto", reason="this backend of transformers needs optimum-quanto")
    model = tiny_model("llama")
    model.generation_config.cache_implementation = "quantized"
    model.generation_config.cache_config = {"backend": backend}
    there_and_back(model, SAMPLED, random_jumps(2))


def test_a_model_that_keeps_no_cache():
    model = tiny_model("llama")
    model.generation_config.use_cache = False
    there_and_back(model, GREEDY, random_jumps(3))


def test_a_prompt_fed_in_chunks():
    model = tiny_model("mistral")
    model.generation_config.prefill_chunk_size = 5
    there_and_back(model, GREEDY, random_jumps(4))


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rotary_embeddings_that_remember_the_longest_text(kind):
    config = REQUIRED["phi3" if kind == "longrope" else "llama"]()
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    if kind == "longrope":
        factors = [1.0 + 0.1 * n for n in range(4)]
        rope = {
            "rope_type": "longrope",
            "short_factor": factors,
            "long_factor": [4 * each for each in factors],
            "rope_theta": 10000.0,
        }
        config.original_max_position_embeddings = 20
    else:
        config.max_position_embeddings = 20
    config.rope_parameters = rope
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    model.generation_config.pad_token_id = 0
    engine_sees_no_limit = dissect(model)
    object.__setattr__(engine_sees_no_limit, "context_length", None)
    recorded = Recorded(model)
    recorded.engine = generation(model, PROMPT, GREEDY, anatomy=engine_sees_no_limit)
    first = recorded.run()
    for start, until in [(2, 4), (20, 22), (1, 3), (0, 2), (25, None)]:
        for token, events in recorded.run(start, until).items():
            same(first[token][: len(events)], events)


def test_going_back_copies_nothing_and_forward_keeps_nothing():
    recorded = Recorded(tiny_model("llama"))
    recorded.run()
    timeline = recorded.engine.timeline
    one_position = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, dim, bytes
    assert timeline.bytes <= one_position * (len(PROMPT) + 30) + 30 * 5056
    before = timeline.bytes
    for start in (5, 12, 3):
        recorded.run(start, start + 2)
    assert timeline.bytes == before


def test_the_sliding_window_is_kept_once(monkeypatch):
    recorded = Recorded(tiny_model("mistral"))
    recorded.run()
    one_position = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, dim, bytes
    assert recorded.engine.timeline.bytes <= one_position * (len(PROMPT) + 30) + 30 * 5056
    joined, cat = [], torch.cat

    def noting(parts, *more, **named):
        joined.append(len(parts))
        return cat(parts, *more, **named)

    monkeypatch.setattr(torch, "cat", noting)
    for token in (25, 20, 10):
        recorded.run(token, token)
    assert joined and max(joined) < 4, "a window is kept in few pieces"


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3", "mamba", "bamba", "recurrent_gemma"])
@pytest.mark.parametrize("at", [0, 1, 9, 20])
def test_a_forced_token_gives_what_generate_gives_after_it(name, at):
    model = tiny_model(name)
    recorded = Recorded(model)
    recorded.run()
    old, ids = recorded.engine.timeline, list(recorded.engine.timeline.ids)
    other = (ids[at] + 1) % 100 + 1
    new = old.fork(at)
    new.overrides[at] = TokenOverrides(force=other)
    recorded.engine.timeline = new
    forced = recorded.run(at)
    assert new.ids[: at + 1] == [*ids[:at], other]
    # generate() over a longer prompt runs a longer prefill, which is not bitwise the same: force it there as well.
    steer = ForceAt(len(PROMPT) + at, other)
    want = untouched(model, PROMPT, GREEDY, logits_processor=transformers.LogitsProcessorList([steer]))
    assert new.ids == want.ids

    recorded.engine.timeline = old
    first = recorded.run(at)
    assert old.ids == ids
    recorded.engine.timeline = new
    again = recorded.run(at)
    for token, events in again.items():
        same(forced[token], events)
    assert first.keys() == forced.keys()


class ForceAt(transformers.LogitsProcessor):
    def __init__(self, length, id):
        self.length, self.id = length, id

    def __call__(self, input_ids, scores):
        if input_ids.shape[1] == self.length:
            scores = torch.full_like(scores, -torch.inf)
            scores[:, self.id] = 0
        return scores


def test_a_banned_token_is_not_taken():
    recorded = Recorded(tiny_model("llama"))
    recorded.run()
    old = recorded.engine.timeline
    new = old.fork(4)
    new.overrides[4] = TokenOverrides(ban=frozenset({old.ids[4]}))
    recorded.engine.timeline = new
    seen = recorded.run(4)
    scores = next(tensor for address, tensor in seen[4] if address == "logits")
    assert new.ids[4] == int(scores[0].topk(2).indices[1])


def test_other_settings_hold_from_a_token_on():
    model = tiny_model("llama")
    recorded = Recorded(model)
    recorded.run()
    new = recorded.engine.timeline.fork(6)
    hot = GenerationSettings(max_new_tokens=12, temperature=3.0, seed=0)
    new.settings = (*new.settings, (6, hot))
    recorded.engine.timeline = new
    seen = recorded.run(2)
    assert len(new.ids) == 12
    assert "sample.temperature" not in [address for address, _ in seen[5]]
    assert sorted(seen) == list(range(2, 12))
    ids = list(new.ids)
    recorded.run(9)
    assert new.ids == ids


def test_a_replay_that_differs_is_told():
    model = tiny_model("llama")
    recorded = Recorded(model)
    recorded.run()
    with torch.no_grad():
        next(model.model.layers[1].mlp.parameters()).add_(0.05)
    recorded.run(10, 13)
    assert recorded.engine.timeline.differing() == (10, 11, 12)
    assert recorded.engine.timeline.differing() == ()
