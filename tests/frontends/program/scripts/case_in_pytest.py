"""Tests that call a model, run by pytest: one prints, one fails in a forward as it should, one needs a folder."""

import pytest
import torch
from tiny_models import bits, llama


@pytest.fixture(scope="module")
def model():
    return llama()


def test_generates(model, capsys):
    print(model.generate(torch.tensor([[5, 17, 33]]), max_new_tokens=3, do_sample=False).tolist())
    assert capsys.readouterr().out.count(",") == 5


def test_refuses_an_id_out_of_range(model):
    with pytest.raises(IndexError):
        model(torch.tensor([[999]]))


@pytest.mark.parametrize("length", [1, 3])
def test_is_the_same_twice(model, length, tmp_path):
    ids = torch.arange(1, length + 1)[None]
    (tmp_path / "a").write_text(bits(model(ids).logits))
    assert (tmp_path / "a").read_text() == bits(model(ids).logits)
