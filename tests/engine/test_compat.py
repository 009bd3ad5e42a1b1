"""The private names of torch we cannot do without. When one fails, `llmdbg/engine/_compat.py` has to change."""

import pytest
import torch

from llmdbg.engine import _compat


@pytest.mark.parametrize("name", _compat.TORCH_NAMES)
def test_torch_still_has(name):
    assert callable(getattr(torch._C, name))
