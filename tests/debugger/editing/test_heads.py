"""Ablated heads: bitwise what plain PyTorch gives when a head makes nothing."""

import pytest
import torch
import transformers
from transformers import AttentionInterface
from transformers.models.llama.modeling_llama import repeat_kv

from llmdbg.debugger.editing.heads import check_heads, projections_in
from llmdbg.errors import EditError
from llmdbg.models.anatomy import dissect
from tests.debugger.edited import SETTINGS, Bench, different, same
from tests.engine.runs import PROMPT, untouched
from tests.tiny import ARCHITECTURES, tiny_model

PROJECTIONS = {
    "llama": "model.layers.{}.self_attn.o_proj",
    "mistral": "model.layers.{}.self_attn.o_proj",
    "gpt2": "transformer.h.{}.attn.c_proj",
    "gpt_neox": "gpt_neox.layers.{}.attention.dense",
    "opt": "model.decoder.layers.{}.self_attn.out_proj",
    "falcon": "transformer.h.{}.self_attention.dense",
    "phi3": "model.layers.{}.self_attn.o_proj",
    "gemma2": "model.layers.{}.self_attn.o_proj",
    "qwen3_moe": "model.layers.{}.self_attn.o_proj",
}
"""Where a person who knows the architecture would look; every model has 4 heads of 8."""

OTHERS = {"gpt_neo": "transformer.h.{}.attn.attention.out_proj", "jamba": "model.layers.{}.self_attn.o_proj"}
"""Attention inside attention, and layers whose class says attention."""

WITHOUT_HEADS = ("mamba", "mamba2", "rwkv")


def run_edited(model, *lines):
    """The ids and raw logits of a generation with some edits from its beginning on."""
    return Bench(model).add(*lines).run()


def run_hooked(model, path, heads, only=None):
    """The same by a plain pre-hook that puts zeros where the heads come in, everywhere or at `only` some of them."""

    def silence(_module, args):
        features = args[0].clone()
        rows = slice(None) if only is None else [each for each in only if each < features.shape[1]]
        if only is not None and features.shape[1] == 1:
            return None
        for head in heads:
            features[:, rows, head * 8 : head * 8 + 8] = 0
        return (features, *args[1:])

    handle = model.get_submodule(path).register_forward_pre_hook(silence)
    run = untouched(model, PROMPT, SETTINGS)
    handle.remove()
    return run.ids, run.logits


@pytest.mark.parametrize("name", [*PROJECTIONS, *OTHERS])
def test_ablated_heads_are_those_of_a_plain_hook(name):
    model = tiny_model(name)
    edited = run_edited(model, "ablate 1 heads=0,2-3")
    same(edited, run_hooked(model, (PROJECTIONS | OTHERS)[name].format(1), (0, 2, 3)))
    different(edited, run_edited(model))
    different(edited, run_edited(model, "ablate 1 heads=0,1,3"))


@pytest.mark.parametrize("name", PROJECTIONS)
def test_chosen_positions_alone(name):
    model = tiny_model(name)
    edited = run_edited(model, "ablate 0 heads=1 at 2,5-7")
    same(edited, run_hooked(model, PROJECTIONS[name].format(0), (1,), only=(2, 5, 6, 7)))
    different(edited, run_edited(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PROJECTIONS)
def test_all_heads_are_the_whole_input_of_the_projection(name, dtype):
    model = tiny_model(name, dtype=dtype)
    edited = run_edited(model, "ablate 0 heads=all")
    handle = model.get_submodule(PROJECTIONS[name].format(0)).register_forward_pre_hook(
        lambda _, args: (torch.zeros_like(args[0]), *args[1:])
    )
    run = untouched(model, PROMPT, SETTINGS)
    handle.remove()
    same(edited, (run.ids, run.logits))
    same(edited, run_edited(model, "ablate 0 heads=0-3"))


def attention_without_head(silent):
    """An attention function, as transformers takes them, in which one head makes nothing."""

    def attend(module, query, key, value, attention_mask, scaling=None, **_):
        groups = query.shape[1] // key.shape[1]
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        weights = query @ key.transpose(2, 3) * scaling  # (B, H, T, S)
        if attention_mask is not None:
            weights = weights + attention_mask[..., : key.shape[-2]]
        made = torch.softmax(weights, dim=-1) @ value  # (B, H, T, D)
        if silent is not None and module.layer_idx == 1:
            made[:, silent] = 0
        return made.transpose(1, 2).contiguous(), weights

    return attend


@pytest.mark.parametrize("name", [name for name in PROJECTIONS if name != "falcon"])  # it has no such function
def test_a_head_is_what_attention_itself_calls_one(name):
    for key, silent in (("llmdbg_all", None), ("llmdbg_without_2", 2)):
        AttentionInterface.register(key, attention_without_head(silent))
        transformers.AttentionMaskInterface.register(key, transformers.masking_utils.eager_mask)
    model = tiny_model(name)
    model.set_attn_implementation("llmdbg_all")
    ablated = run_edited(model, "ablate 1 heads=2")
    different(ablated, run_edited(model))
    model.set_attn_implementation("llmdbg_without_2")
    run = untouched(model, PROMPT, SETTINGS)
    same(ablated, (run.ids, run.logits))


def test_ablations_of_one_attention_add_up_and_come_before_what_changes_its_output():
    model = tiny_model("llama")
    both = run_edited(model, "ablate 1 heads=0,3")
    same(both, run_edited(model, "ablate 1 heads=0", "ablate 1.self_attn heads=3"))
    same(
        run_edited(model, "ablate 1 heads=0 at 3", "ablate 1 heads=2"),
        run_edited(model, "ablate 1 heads=2", "ablate 1 heads=0 at 3"),
    )
    scaled = run_edited(model, "scale 1.self_attn.o_proj 0.5", "ablate 1 heads=0,3")
    same(scaled, run_edited(model, "ablate 1 heads=0,3", "scale 1.self_attn.o_proj 0.5"))
    different(scaled, both)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in (*WITHOUT_HEADS, "deepseek_v4")])
def test_every_architecture_with_attention_heads_has_its_projections_found(name):
    model = tiny_model(name)
    anatomy = dissect(model)
    found = projections_in([layer.address for layer in anatomy.layers()], anatomy, model)
    assert found
    for address, each in found.items():
        assert each.module is anatomy.modules[address]
        assert address.rpartition(".")[2] in ("o_proj", "c_proj", "dense", "out_proj", "Wo")
        assert each.heads == 4
        inputs: list[torch.Tensor] = []
        handle = each.module.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0]))
        model(torch.tensor([PROMPT]))
        handle.remove()
        assert inputs[0].shape[-1] == each.heads * each.width


def test_heads_that_are_mixed_before_the_last_projection_are_not_taken_for_heads():
    with pytest.raises(EditError, match="is not 4 heads side by side, of 16 numbers each"):
        run_edited(tiny_model("deepseek_v4"), "ablate 1 heads=0")


@pytest.mark.parametrize("name", ["jamba", "bamba", "lfm2", "qwen3_next", "zamba2", "recurrent_gemma"])
def test_layers_without_attention_are_passed_over_and_refused_alone(name):
    model = tiny_model(name)
    anatomy = dissect(model)
    with_attention = {
        int(each.attention.partition(".")[0])
        for each in projections_in([layer.address for layer in anatomy.layers()], anatomy, model).values()
    }
    without = {int(layer.address) for layer in anatomy.layers()} - with_attention
    assert with_attention and without
    with pytest.raises(EditError, match=r"there is no attention in \d: name a layer or its attention, as in \d+\.\w+"):
        projections_in([str(min(without))], anatomy, model)


def test_an_attention_made_of_several_modules_is_ablated_where_its_heads_meet():
    """In BERT the values' projection is as large as the output's, and stands in an attention inside the attention."""
    config = transformers.BertConfig(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        is_decoder=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    anatomy = dissect(model)
    assert list(projections_in(["1"], anatomy, model)) == ["1.attention.output.dense"]
    with pytest.raises(EditError, match=r"no attention in 1\.attention\.self: .* as in 1\.attention$"):
        projections_in(["1.attention.self"], anatomy, model)


def test_an_adapter_around_a_projection_hides_what_it_is_made_of():
    class Adapter(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.in_features, self.out_features = inner.in_features, inner.out_features
            self.base, self.down, self.up = inner, torch.nn.Linear(32, 4), torch.nn.Linear(4, 32)

        def forward(self, x):
            return self.base(x) + self.up(self.down(x))

    model = tiny_model("llama")
    attention = model.model.layers[1].self_attn
    attention.o_proj = Adapter(attention.o_proj)
    anatomy = dissect(model)
    assert list(projections_in(["1"], anatomy, model)) == ["1.self_attn.o_proj"]
    same(run_edited(model, "ablate 1 heads=1"), run_hooked(model, PROJECTIONS["llama"].format(1), (1,)))


def test_heads_may_be_wider_than_their_share_of_the_residual_stream():
    model = tiny_model("gpt2")
    model.transformer.h[1].attn.c_proj = transformers.pytorch_utils.Conv1D(32, 64)
    model.transformer.h[1].attn.head_dim = 16
    anatomy = dissect(model)
    assert [each.width for each in projections_in(["1"], anatomy, model).values()] == [16]


@pytest.mark.parametrize("name", WITHOUT_HEADS)
def test_a_model_without_attention_heads_is_refused(name):
    model = tiny_model(name)
    anatomy = dissect(model)
    with pytest.raises(EditError, match="has no attention heads that could be ablated"):
        projections_in(["0"], anatomy, model)


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        ("1.mlp", "1.self_attn"),
        ("1.self_attn.o_proj", "1.self_attn"),
        ("norm", "0.self_attn"),
        ("sample", "0.self_attn"),
    ],
)
def test_a_stage_that_is_no_attention_is_refused_with_the_nearest(named, hint):
    model = tiny_model("llama")
    with pytest.raises(EditError, match=f"no attention in {named}: name a layer or its attention, as in {hint}$"):
        projections_in([named], dissect(model), model)


def test_a_head_that_does_not_exist_is_refused_with_those_that_do():
    model = tiny_model("llama")
    found = projections_in(["0"], dissect(model), model)
    check_heads([0, 3], found)
    with pytest.raises(EditError, match=r"^there is no head 4: those of 0\.self_attn are 0 to 3$"):
        check_heads([0, 4], found)


def test_a_model_that_gives_no_number_of_heads_is_refused():
    model = tiny_model("llama")
    anatomy = dissect(model)
    vars(model.config)["num_attention_heads"] = [4, 4]  # as models of other people have it, one for each layer
    with pytest.raises(EditError, match="has no attention heads"):
        projections_in(["0"], anatomy, model)


def test_a_projection_of_no_fitting_size_is_refused():
    model = tiny_model("llama")
    anatomy = dissect(model)
    model.config.num_attention_heads = 5
    with pytest.raises(EditError, match=r"0\.self_attn has no output projection that takes 5 heads side by side"):
        projections_in(["0"], anatomy, model)
