"""Stages are read off the module tree, for any architecture."""

import pytest

from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import StageKind
from tests.tiny import ARCHITECTURES, tiny_model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_an_outline(name):
    model = tiny_model(name)
    anatomy = dissect(model)
    outline = [stage.address for stage in anatomy.outline()]
    layers = [str(index) for index in range(model.config.num_hidden_layers)]

    assert outline == ["tokenize", "embed", *layers, "norm", "logits", "sample"]
    assert anatomy.modules["embed"] is model.get_input_embeddings()
    assert [stage.kind for stage in anatomy.layers()] == [StageKind.LAYER] * len(layers)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_address_is_one_stage_with_one_module(name):
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
