"""The private names of torch we cannot do without. When one fails, `llmdbg/engine/_compat.py` has to change."""

import pytest
import torch

from llmdbg.engine import _compat


@pytest.mark.parametrize("name", _compat.TORCH_NAMES)
def test_torch_still_has(name):
    assert callable(getattr(torch._C, name))


def test_the_keyword_arguments_of_a_hooked_call_are_read():
    seen = []

    class Adds(torch.nn.Module):
        def forward(self, x, *, y):
            return x + y

    def hook(_module, _args):
        seen.append(_compat.arguments_of_hooked_call())

    handle = torch.nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        Adds()(1, y=2)
    finally:
        handle.remove()
    assert seen == [((1,), {"y": 2})]
