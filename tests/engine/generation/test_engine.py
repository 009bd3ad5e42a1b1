"""Suspending, closing, interrupting and ending a run."""

import copy
import gc
import threading
import time
import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import StageEvent, always_suspend
from llmdbg.errors import GenerationError, PromptError
from tests.engine.runs import GREEDY, PROMPT, SAMPLED, generation, hooks_on, untouched
from tests.tiny import tiny_model


def engine_over(name="llama", settings=GREEDY, prompt=PROMPT):
    model = tiny_model(name)
    return model, generation(model, prompt, settings)


def every_stage(engine):
    return [stage.address for stage in (*engine.anatomy.stages, *engine.processors)]


def test_stages_come_in_the_order_the_forward_takes():
    _, engine = engine_over(settings=GenerationSettings(max_new_tokens=2, temperature=0.7, top_k=5))
    stages = engine.events()
    addresses = [next(stages).stage.address]
    outline = [
        *(stage.address for stage in engine.anatomy.stages if stage.depth == 1),
        *(stage.address for stage in engine.processors),
    ]
    engine.stops.arm(outline)
    addresses += [event.stage.address for event in stages]

    one = ["embed", "0", "1", "norm", "logits", "sample.temperature", "sample.top_k", "sample"]
    assert addresses == ["tokenize", *one, *one]


def test_phases_and_tokens_are_counted():
    _, engine = engine_over(settings=GenerationSettings(max_new_tokens=3, greedy=True))
    engine.stops.arm(["0"])
    seen = [(event.stage.address, event.phase.value, event.token) for event in engine.events()]

    assert seen == [
        ("tokenize", "prefill", 0),
        ("0", "prefill", 0),
        ("0", "decode", 1),
        ("0", "decode", 2),
        ("sample", "decode", 2),
    ]


@pytest.mark.parametrize("stop_at", [0, 1, 7, 20, 60])
def test_closing_anywhere_removes_every_hook_and_leaves_the_model_as_it_was(stop_at):
    model, engine = engine_over("mistral")
    engine.stops.arm(every_stage(engine))
    stages = engine.events()
    for _ in range(stop_at + 1):
        next(stages)
    assert hooks_on(model) > 0
    stages.close()

    assert hooks_on(model) == 0
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    again = generation(model, PROMPT, GREEDY)
    list(again.events())
    assert list(again.generated) == untouched(model, PROMPT, GREEDY).ids


def test_dropping_the_generator_removes_every_hook():
    model, engine = engine_over()
    engine.stops.arm(every_stage(engine))
    stages = engine.events()
    next(stages), next(stages)
    del stages
    gc.collect()

    assert hooks_on(model) == 0


def test_an_unarmed_run_hooks_nothing():
    model, engine = engine_over()
    stages = engine.events()
    next(stages)

    assert hooks_on(model) == 0
    assert [event.stage.address for event in stages] == ["sample"]


def test_a_suspended_forward_leaks_no_mode_either_way():
    _, engine = engine_over()
    engine.stops.arm(["0.mlp"])
    stages = engine.events()
    next(stages), next(stages)

    assert torch.is_grad_enabled(), "generate() runs without grad, and that must stay inside"
    with torch.inference_mode():
        event = next(stages)
        assert torch.is_inference_mode_enabled()
    assert not event.output.is_inference(), "ours must stay outside"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        event = next(stages)
        assert torch.is_autocast_enabled("cpu")
    assert event.output.dtype is torch.float32


class Counted(TorchDispatchMode):
    """How many operations run under it."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += 1
        return operation(*args, **kwargs or {})


@pytest.mark.parametrize("begun", [False, True])
def test_a_dispatch_mode_sees_the_forward_if_it_was_there_when_that_began(begun):
    model, engine = engine_over()
    stages = engine.events()
    engine.stops.arm(["0"])
    if begun:
        next(stages)
    with Counted() as mode:
        stops = 0
        for _ in stages:
            before = mode.count
            torch.ones(1).add(1)
            assert mode.count == before + 2, "at a stop it is the user's"
            stops += 1
    assert list(engine.generated) == untouched(model, PROMPT, GREEDY).ids
    assert stops > 10
    assert mode.count == 2 * stops if begun else mode.count > 100 * stops


def test_stages_can_be_armed_while_standing_inside_a_layer():
    _, engine = engine_over()
    engine.stops.arm(["0.self_attn.q_proj"])
    stages = engine.events()
    next(stages), next(stages)
    engine.stops.arm(["0.self_attn.k_proj", "0.self_attn", "0"])

    assert [next(stages).stage.address for _ in range(3)] == ["0.self_attn.k_proj", "0.self_attn", "0"]


def test_time_spent_suspended_is_not_counted():
    _, engine = engine_over()
    engine.stops.arm(["0.mlp", "0"])
    stages = engine.events()
    next(stages), next(stages)
    time.sleep(0.3)
    layer = next(stages)

    assert layer.stage.address == "0"
    assert 0 < layer.ms < 250


def test_what_others_run_meanwhile_is_not_counted():
    model, engine = engine_over()
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: time.sleep(0.02))
    engine.stops.arm(["0.mlp", "0"])
    stages = engine.events()
    next(stages), next(stages)
    model(torch.tensor([PROMPT]))
    layer = next(stages)

    assert layer.stage.address == "0"
    assert layer.ms > 20


def test_a_layer_is_timed_though_only_a_module_inside_was_armed_when_it_began():
    _, engine = engine_over()
    engine.stops.arm(["0.mlp"])
    stages = engine.events()
    next(stages)
    inner = next(stages)
    inner_ms = inner.ms
    engine.stops.arm(["0"])

    assert next(stages).ms > inner_ms > 0


def test_an_interrupt_stops_at_the_next_stage_there_is():
    _, engine = engine_over()
    engine.stops.arm(["1"], lambda _: False)
    stages = engine.events()
    next(stages)
    engine.stops.interrupt()

    assert next(stages).stage.address == "1"


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba"])
def test_no_tensor_of_a_past_stage_is_kept(name):
    """Outputs of modules are counted as they come and go: none may outlive the stage that follows the layer's end."""
    _model, engine = engine_over(name)
    kept: list[tuple[str, weakref.ref[Any]]] = []

    def note(event: StageEvent) -> bool:
        if isinstance(event.output, torch.Tensor):
            kept.append((event.stage.address, weakref.ref(event.output)))
        return True

    engine.stops.arm([address for address in every_stage(engine) if address.startswith("0.")], note)
    stages = engine.events()
    next(stages)
    events = [next(stages) for _ in range(3)]
    engine.stops.arm(["logits"], note)
    events.append(next(stages))
    assert events[-1].stage.address == "logits"
    alive = [address for address, tensor in kept[:-1] if tensor() is not None]

    # The KV cache is the model's own and holds views of what the projections gave out.
    owned = {"0.self_attn.k_proj", "0.self_attn.v_proj", "0.attn.c_attn", "0.mixer.in_proj", "0.mixer.conv1d"}
    assert not set(alive) - owned, "visits that were handed out must not keep tensors alive"
    assert all(event.output is None for event in events[:-1])


def test_nothing_of_a_run_is_alive_after_it():
    model, engine = engine_over()
    for _ in generation(model, PROMPT, GREEDY).events():
        pass  # what a model caches at its first forward stays
    gc.collect()
    before = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
    engine.stops.arm(every_stage(engine))
    for _ in engine.events():
        pass
    del engine  # its generation config holds the pad token as a tensor
    gc.collect()

    assert sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects()) <= before


def test_a_run_ends_at_the_end_of_the_context():
    model, _ = engine_over()
    limit = model.config.max_position_embeddings
    prompt = [7] * (limit - 3)
    engine = generation(model, prompt, GenerationSettings(max_new_tokens=50, greedy=True))
    last = list(engine.events())[-1]

    # The last token needs no position of its own: it is not fed any more.
    assert engine.ended_by == last.ended_by == "context"
    assert len(engine.generated) == 4


def test_a_prompt_beyond_the_context_is_refused():
    model, _ = engine_over()
    limit = model.config.max_position_embeddings
    with pytest.raises(PromptError, match=f"{limit + 1} tokens and this model's context holds {limit}"):
        generation(model, [7] * (limit + 1), GREEDY)


def test_a_failing_forward_is_told_with_its_place_and_unhooks():
    model, engine = engine_over()

    def fail(*_):
        raise RuntimeError("kernel exploded")

    handle = model.model.layers[1].mlp.register_forward_pre_hook(fail)
    engine.stops.arm(["0"])
    stages = engine.events()
    next(stages), next(stages)
    with pytest.raises(GenerationError, match="token 0, after stage 0: RuntimeError: kernel exploded"):
        next(stages)
    handle.remove()

    assert hooks_on(model) == 0


def test_a_model_that_takes_no_attention_mask_runs():
    model, _ = engine_over("llama")

    class Maskless(type(model)):  # type: ignore[misc]
        def forward(self, input_ids, past_key_values=None, use_cache=None, return_dict=True):
            return super().forward(input_ids, past_key_values=past_key_values, use_cache=use_cache)

        def prepare_inputs_for_generation(self, input_ids, **kwargs):
            inputs = super().prepare_inputs_for_generation(input_ids, **kwargs)
            return {name: inputs.get(name) for name in ("input_ids", "past_key_values", "use_cache")}

    wanted = untouched(model, PROMPT, GREEDY).ids
    model.__class__ = Maskless
    engine = generation(model, PROMPT, GREEDY)
    list(engine.events())

    assert list(engine.generated) == wanted


def test_two_runs_can_be_interleaved():
    """A debugger may compare two runs: neither may disturb the other."""
    _first_model, first = engine_over("llama", settings=GenerationSettings(max_new_tokens=6, temperature=0.9, seed=3))
    second_model, second = engine_over("qwen2", settings=GenerationSettings(max_new_tokens=6, greedy=True))
    first.stops.arm(["0", "1"])
    second.stops.arm(["0.mlp"])
    pair = [first.events(), second.events()]
    while pair:
        for stages in list(pair):
            if next(stages, None) is None:
                pair.remove(stages)

    assert (
        list(second.generated) == untouched(second_model, PROMPT, GenerationSettings(max_new_tokens=6, greedy=True)).ids
    )


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_model_may_be_used_by_others_while_a_run_over_it_is_suspended(share, elsewhere):
    """Their forwards are neither edited nor taken for the run's own, in the same thread or in another."""
    model = tiny_model("llama")
    if share:
        model.model.layers[1].mlp = model.model.layers[0].mlp
    ids = torch.tensor([PROMPT])
    plain = model(ids).logits
    engine = generation(model, PROMPT, GenerationSettings(max_new_tokens=3, greedy=True))

    def walk(at_stop):
        stages = engine.events()
        next(stages)
        seen: list[object] = []
        everything = every_stage(engine)
        engine.stops.edit(["0.mlp"], double)
        engine.stops.capture_kernels(["0.self_attn"])
        engine.stops.arm(everything, lambda event: seen.append((event.stage.address, event.token)) or True)
        for event in stages:
            at_stop()
            seen.append((event.ms is not None, [call.query.shape for call in event.kernel_calls]))
        return seen, list(engine.generated)

    def use_it():
        assert torch.equal(model(ids).logits, plain)
        assert torch.equal(copy.deepcopy(model)(ids).logits, plain)

    def use_it_elsewhere():
        failed = []
        thread = threading.Thread(target=lambda: failed.append(not torch.equal(model(ids).logits, plain)))
        thread.start()
        thread.join()
        assert failed == [False]

    alone = walk(lambda: None)
    assert walk(use_it_elsewhere if elsewhere else use_it) == alone
    assert alone[1] != untouched(model, PROMPT, GenerationSettings(max_new_tokens=3, greedy=True)).ids


def double(event: StageEvent) -> None:
    event.output = event.output * 2


def test_another_thread_may_let_go_of_a_suspended_run():
    """As the garbage collector does, which runs in whichever thread it likes."""
    model = tiny_model("llama")
    kept = []

    def suspend():
        engine = generation(model, PROMPT, GREEDY)
        engine.stops.arm(["1.mlp"])
        stages = engine.events()
        next(stages)
        next(stages)
        kept.append(stages)
        done.wait(10)

    done = threading.Event()
    thread = threading.Thread(target=suspend)
    thread.start()
    while not kept:
        time.sleep(0.01)
    assert hooks_on(model)
    kept.pop().close()
    assert not hooks_on(model)
    done.set()
    thread.join()
    engine = generation(model, PROMPT, GREEDY)
    assert [event.chosen for event in engine.events()][-1] is not None


def test_the_copy_of_the_scores_is_no_part_of_a_processors_time(monkeypatch):
    engine = generation(tiny_model("llama"), PROMPT, SAMPLED)
    events = engine.events()
    next(events)
    engine.stops.arm([stage.address for stage in engine.processors], always_suspend)
    order = []
    real, enter = torch.Tensor.clone, engine._stops.enter
    monkeypatch.setattr(torch.Tensor, "clone", lambda self, *a, **k: order.append("copy") or real(self, *a, **k))
    monkeypatch.setattr(engine._stops, "enter", lambda stage: order.append(stage.address) or enter(stage))
    next(events)
    monkeypatch.undo()
    first = engine.processors[0].address
    assert order.index("copy") < order.index(first)
    assert "copy" not in order[order.index(first) :]
    events.close()
