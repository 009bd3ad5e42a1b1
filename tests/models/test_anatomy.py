"""Stages are read off the module tree, for any architecture."""

import pytest
from torch import nn

from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import StageKind
from tests.tiny import ARCHITECTURES, tiny_model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_an_outline(name):
    model = tiny_model(name)
    anatomy = dissect(model)
    outline = [stage.address for stage in anatomy.stages if stage.depth == 1]
    layers = [str(index) for index in range(model.config.num_hidden_layers)]

    assert outline == ["tokenize", "embed", *layers, "norm", "logits", "sample"]
    assert anatomy.modules["embed"] is model.get_input_embeddings()
    assert [stage.kind for stage in anatomy.layers()] == [StageKind.LAYER] * len(layers)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_module_is_one_stage_with_one_address(name):
    model = tiny_model(name)
    anatomy = dissect(model)
    addresses = [stage.address for stage in anatomy.stages]

    assert len(addresses) == len(set(addresses))
    assert len({id(module) for module in anatomy.modules.values()}) == len(anatomy.modules)
    for stage in anatomy.stages:
        if stage.address in anatomy.modules:
            assert anatomy.modules[stage.address] is model.get_submodule(stage.module)
        assert stage.depth >= 1


def test_depth_and_layer():
    anatomy = dissect(tiny_model("mistral"))
    assert [
        (each, anatomy.stage(each).depth, anatomy.stage(each).layer) for each in ("1", "1.mlp", "1.mlp.up_proj")
    ] == [
        ("1", 1, 1),
        ("1.mlp", 2, 1),
        ("1.mlp.up_proj", 3, 1),
    ]
    assert [stage.address for stage in anatomy.enclosing(anatomy.stage("1.mlp.up_proj"))] == ["1.mlp", "1"]


def outline(model):
    return [stage.address for stage in dissect(model).stages if stage.depth == 1]


def test_a_head_that_is_called_decoder_is_no_decoder():
    model = tiny_model("modernbert_decoder")
    assert model.get_decoder() is model.get_output_embeddings()
    assert outline(model) == ["tokenize", "embed", "0", "1", "norm", "logits", "sample"]


def test_a_layer_used_twice_is_two_layers():
    model = tiny_model("llama")
    model.model.layers[1] = model.model.layers[0]
    anatomy = dissect(model)

    assert outline(model) == ["tokenize", "embed", "0", "1", "norm", "logits", "sample"]
    inside = {stage.address.partition(".")[2] for stage in anatomy.stages if stage.layer == 0}
    assert {stage.address.partition(".")[2] for stage in anatomy.stages if stage.layer == 1} == inside
    assert anatomy.modules["1.mlp.up_proj"] is anatomy.modules["0.mlp.up_proj"]
    assert anatomy.stage("1.mlp").module == "model.layers.1.mlp"
    assert [stage.address for stage in anatomy.enclosing(anatomy.stage("1.mlp.up_proj"))] == ["1.mlp", "1"]


def test_a_module_that_layers_share_is_a_stage_in_each():
    model = tiny_model("llama")
    model.model.layers[1].mlp = model.model.layers[0].mlp
    anatomy = dissect(model)

    assert {"0.mlp", "1.mlp", "0.mlp.act_fn", "1.mlp.act_fn"} <= set(anatomy.modules)


def test_a_final_norm_that_a_layer_uses_too_is_both():
    model = tiny_model("llama")
    model.model.norm = model.model.layers[1].input_layernorm
    anatomy = dissect(model)

    assert outline(model) == ["tokenize", "embed", "0", "1", "norm", "logits", "sample"]
    assert anatomy.modules["norm"] is anatomy.modules["1.input_layernorm"]
    assert anatomy.stage("norm").module == "model.norm"


def test_a_second_name_of_the_decoder_or_of_its_layers_makes_no_stages():
    plain = dissect(tiny_model("llama")).stages
    model = tiny_model("llama")
    model.model.blocks = model.model.layers
    model.language_model = model.model

    assert dissect(model).stages == plain


def test_a_list_inside_a_shared_layer_is_there_in_each():
    model = tiny_model("llama")
    model.model.layers[0].branches = nn.ModuleList([nn.Identity(), nn.Identity()])
    model.model.layers[1] = model.model.layers[0]

    assert {"0.branches.0", "0.branches.1", "1.branches.0", "1.branches.1"} <= set(dissect(model).modules)
