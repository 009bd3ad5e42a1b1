"""Edits: bitwise what a plain PyTorch hook gives, at the stages, tokens and positions they are for and nowhere else."""

import pytest
import torch

from llmdbg.debugger.editing.changes import Scale, Zero
from llmdbg.debugger.editing.edits import Draft, Edits
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError, EditError
from tests.debugger.edited import Bench, Elsewhere, different, same, visit_of
from tests.engine.runs import PROMPT, hooks_on

LAYERS = {
    "llama": ("model.layers.{}", "mlp"),
    "mistral": ("model.layers.{}", "mlp"),
    "gpt2": ("transformer.h.{}", "mlp"),
    "gpt_neox": ("gpt_neox.layers.{}", "mlp"),
    "opt": ("model.decoder.layers.{}", "self_attn"),
    "falcon": ("transformer.h.{}", "mlp"),
    "phi3": ("model.layers.{}", "mlp"),
    "gemma2": ("model.layers.{}", "mlp"),
    "qwen3_moe": ("model.layers.{}", "mlp"),
}


def zeroed(chosen):
    def change(tensor, _token):
        tensor = tensor.clone()
        tensor[:, chosen] = 0
        return tensor

    return change


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_zero_and_scale_are_what_a_plain_hook_gives(name, dtype):
    layer, module = LAYERS[name]
    plain = Bench(name, dtype=dtype).run()
    for address, path in (("0", layer.format(0)), (f"1.{module}", f"{layer.format(1)}.{module}")):
        zero = Bench(name, dtype=dtype).add(f"zero {address}")
        same(zero.run(), zero.hooked(path, lambda tensor, _: torch.zeros_like(tensor)))
        different(zero.run(), plain)
        scale = Bench(name, dtype=dtype).add(f"scale {address} -0.3")
        same(scale.run(), scale.hooked(path, lambda tensor, _: tensor * -0.3))
        different(scale.run(), plain)
        different(scale.run(), zero.run())


@pytest.mark.parametrize("name", LAYERS)
def test_chosen_positions_alone_change_and_a_later_forward_runs_over_none_of_them(name):
    layer, module = LAYERS[name]
    bench = Bench(name).add(f"zero 0.{module} at 3,5-7")

    def change(tensor, token):
        if token:
            return tensor
        shape = tensor.shape  # OPT and mixtures of experts work on (position, …)
        return zeroed([3, 5, 6, 7])(tensor.reshape(1, len(PROMPT), -1), token).reshape(shape)

    same(bench.run(), bench.hooked(f"{layer.format(0)}.{module}", change))
    different(bench.run(), Bench(name).run())


@pytest.mark.parametrize("word", ["last", "-1"])
def test_the_newest_position_is_the_last_of_every_forward(word):
    bench = Bench().add(f"zero 0.mlp at {word}")
    same(bench.run(), bench.hooked("model.layers.0.mlp", zeroed([-1])))


def test_a_position_to_come_is_changed_when_it_is_fed():
    bench = Bench().add(f"zero 0.mlp at {len(PROMPT) + 1}")
    same(bench.run(), bench.hooked("model.layers.0.mlp", lambda x, token: torch.zeros_like(x) if token == 2 else x))
    different(bench.run(), Bench().run())


def test_all_positions_are_all():
    same(Bench().add("scale 1 2 at all").run(), Bench().add("scale 1 2").run())


def test_a_model_without_a_cache_runs_over_earlier_positions_again():
    bench = Bench().add("zero 0.mlp at 3,last")
    bench.model.generation_config.use_cache = False
    same(bench.run(), bench.hooked("model.layers.0.mlp", zeroed([3, -1])))
    different(bench.run(), Bench().add("zero 0.mlp at last").run())


def test_the_head_is_asked_for_the_newest_position_alone():
    bench = Bench().add("scale lm_head -1 at last")
    same(bench.run(), bench.hooked("lm_head", lambda x, _: x * -1))
    same(Bench().add("scale lm_head -1 at 0-10").run(), Bench().run())
    same(Bench().add("scale logits -1 at last").run(), bench.run())
    same(
        Bench().add(f"scale logits -1 at {len(PROMPT)}").run(),
        bench.hooked("lm_head", lambda x, t: -x if t == 1 else x),
    )


def test_one_token_alone():
    bench = Bench().add("zero 0.mlp@2")
    same(bench.run(), bench.hooked("model.layers.0.mlp", lambda x, token: torch.zeros_like(x) if token == 2 else x))
    different(bench.run(), Bench().run())


def test_from_the_token_where_it_was_made_on():
    bench = Bench().add("zero 0.mlp", since=2)
    same(bench.run(), bench.hooked("model.layers.0.mlp", lambda x, token: torch.zeros_like(x) if token >= 2 else x))
    different(bench.run(), Bench().run())


def test_edits_of_one_stage_come_in_order():
    bench = Bench().add("scale 0.mlp 3", "zero 0.mlp at 2", "scale 0.mlp 0.1")
    same(bench.run(), bench.hooked("model.layers.0.mlp", lambda x, t: (x * 3 if t else zeroed([2])(x * 3, t)) * 0.1))


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2"])
def test_ranges_and_globs(name):
    same(Bench(name).add("zero *.mlp").run(), Bench(name).add("zero 0-1.mlp").run())
    same(Bench(name).add("zero *.mlp").run(), Bench(name).add("zero 0.mlp", "zero layer 1.mlp").run())
    assert Bench(name).read("zero *").stages.isdisjoint({"tokenize", "sample"})


def test_patch_takes_the_value_of_another_branch():
    other = Bench().add("scale 0.mlp 5")
    kept = {}
    engine = other.engine()
    engine.stops.arm(["1"], lambda event: kept.update({("1", event.token): main_tensor(event.output).clone()}))
    for _ in engine.events():
        pass
    before = {key: value.clone() for key, value in kept.items()}
    values = lambda address, token: kept.get((address, token)) if token < 3 else None  # noqa: E731
    bench = Bench(other_run={"b2": Elsewhere(values)}.__getitem__).add("patch 1 from b2")
    same(bench.run(), bench.hooked("model.layers.1", lambda x, token: kept["1", token] if token < 3 else x))
    different(bench.run(), Bench().run())
    some = Bench(other_run={"b2": Elsewhere(values)}.__getitem__).add("patch 1@0 from b2 at 3-5")
    rows = lambda x, t: x if t else torch.cat([x[:, :3], kept["1", 0][:, 3:6], x[:, 6:]], 1)  # noqa: E731
    same(some.run(), some.hooked("model.layers.1", rows))
    assert all(torch.equal(kept[key], before[key]) for key in kept)


def test_a_stop_shows_what_the_edit_made_and_so_does_the_way_of_the_scores():
    bench = Bench().add("zero logits")
    event, stages = bench.at("logits")
    assert not event.output.any()
    assert event.trail[-1][1] is event.output
    stages.close()


def test_positions_that_cannot_be_told_apart_are_refused():
    bench = Bench().add("zero 0.mlp at 3")
    bench.model.generation_config.prefill_chunk_size = 5
    with pytest.raises(
        EditError, match=r"^edit 1 \(`zero 0.mlp at 3`\) at 0.mlp of token 0: no dimension of \[1, 5, 32\]"
    ):
        bench.run()
    assert hooks_on(bench.model) == 0


def test_an_edit_that_fails_inside_the_forward_says_which_and_leaves_no_hook():
    bench = Bench()
    event, stages = bench.at("1")
    bench.edits.add(bench.read("edit out[0, 11] = 0", event=event), since=0)
    stages.close()
    with pytest.raises(EditError, match=r"^edit 1 \(`edit out\[0, 11\] = 0`\) at 1 of token 1: IndexError"):
        bench.run()
    assert hooks_on(bench.model) == 0
    bench.edits.remove(1)
    same(bench.run(), Bench().run())


def draft(text="zero 0", *stages, token=None, change=None):
    return Draft(text, frozenset(stages or {"0"}), token, change or Zero())


def test_numbers_are_never_given_twice():
    edits = Edits()
    assert [edits.add(draft(), 0).number for _ in range(3)] == [1, 2, 3]
    edits.remove(3)
    assert [each.number for each in edits.list()] == [1, 2]
    assert edits.add(draft(), 0).number == 4
    other = Edits()
    for edit in reversed(edits.list()):
        other.put_back(edit)
    assert other.list() == edits.list()
    assert other.add(draft(), 0).number == 5


def test_switching_on_and_off():
    bench = Bench().add("zero 0.mlp", "scale 1 2")
    bench.edits.enable(1, enabled=False)
    assert [each.enabled for each in bench.edits.list()] == [False, True]
    assert bench.edits.addresses() == {"1"}
    same(bench.run(), Bench().add("scale 1 2").run())
    assert len(bench.edits.enable(enabled=False)) == 2
    assert bench.edits.addresses() == frozenset()
    same(bench.run(), Bench().run())
    bench.edits.enable()
    same(bench.run(), Bench().add("zero 0.mlp", "scale 1 2").run())
    with pytest.raises(CommandError, match=r"there is no edit 9 \(there are: 1, 2\)"):
        bench.edits.enable(9)


def test_a_copy_and_an_editor_go_their_own_way():
    edits = Edits()
    edits.add(draft(), 0)
    other, editor = edits.copy(), edits.editor(12)
    edits.add(draft("scale 0 2", change=Scale(2.0)), 0)
    other.enable(1, enabled=False)
    assert [len(each.list()) for each in (edits, other)] == [2, 1]
    assert edits.list()[0].enabled
    assert other.add(draft(), 0).number == 2
    edits.enable(enabled=False)
    event = visit_of(torch.ones(1, 12, 4), "0")
    editor(event)
    assert not event.output.any()


def test_when_an_edit_applies():
    edits = Edits()
    always, once = edits.add(draft(), 2), edits.add(draft(token=3), 2)
    tokens = lambda edit: [token for token in range(6) if edit.applies(visit_of(None, "0", token))]  # noqa: E731
    assert tokens(always) == [2, 3, 4, 5]
    assert tokens(once) == [3]
    assert not always.applies(visit_of(None, "1", 3))
    assert not edits.enable(1, enabled=False)[0].applies(visit_of(None, "0", 3))
