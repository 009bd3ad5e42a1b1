"""A test that calls a model, run by pytest."""

import torch

from tests.tiny import tiny_model


def test_it_generates():
    out = tiny_model("llama").generate(torch.tensor([[5, 17, 33]]), max_new_tokens=3, do_sample=False)
    assert out.shape == (1, 6)
    print("shown if it fails")
