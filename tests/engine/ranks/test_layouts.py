"""How values lie on the ranks, found without any rank."""

import pytest
import torch

from llmdbg.engine.layout import Layout, split_over
from llmdbg.engine.ranks.layouts import cache_address, each_tensor, layout_of, whole_shapes
from llmdbg.engine.ranks.whole import part_of
from tests.tiny import ARCHITECTURES

SPLIT = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "mixtral", "qwen3_moe", "phi3", "olmo2", "gpt_oss")


@pytest.mark.parametrize("name", SPLIT)
def test_whole_shapes_are_found_for_every_stage_that_runs(name: str):
    shapes = whole_shapes(ARCHITECTURES[name](), None)
    assert shapes["embed"].returns == ((1, None, 32),)
    assert shapes["1.self_attn.o_proj"].returns == ((1, None, 32),)
    assert [len(each) for each in shapes[cache_address(1)].returns] == [4, 4]


def test_a_model_that_cannot_be_run_without_values_has_no_known_shapes():
    assert whole_shapes(ARCHITECTURES["mamba2"](), "no such attention") == {}


def test_a_value_is_split_over_the_axis_that_is_narrower():
    assert layout_of((1, 5, 16), (1, None, 32), 1, 2) == Layout(2, (16, 16))
    assert layout_of((1, 5, 32), (1, None, 32), 1, 2) == Layout(None)
    assert layout_of((1, 5, 3), (1, None, 10), 2, 3) is None
    assert layout_of((1, 5, 2), (1, None, 10), 2, 3) == Layout(2, (4, 4, 2))
    assert layout_of((5, 16), (1, None, 32), 0, 2) is None
    assert layout_of((1, 5, 16), None, 0, 2) is None


def test_parts_make_the_whole():
    whole = torch.arange(30).reshape(3, 10)
    layout = Layout(1, split_over(10, 3))
    parts = [part_of(whole, layout, rank) for rank in range(3)]
    assert [each.shape[1] for each in parts] == [4, 4, 2]
    assert torch.equal(torch.cat(parts, 1), whole)


def test_tensors_are_changed_in_their_containers():
    found = each_tensor(({"a": torch.ones(2)}, [torch.ones(1), 5], None), lambda each: each + 1)
    assert found[0]["a"].tolist() == [2, 2]
    assert found[1] == [torch.tensor([2.0]), 5]
    assert found[2] is None
