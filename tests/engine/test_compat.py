"""The private names of torch we cannot do without. When one fails, `llmdbg/engine/_compat.py` has to change."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from llmdbg.engine import _compat


@pytest.mark.parametrize("name", _compat.TORCH_NAMES)
def test_torch_still_has(name):
    assert callable(getattr(torch._C, name))


@pytest.mark.parametrize("name", _compat.FUNCTORCH_NAMES)
def test_functorch_still_has(name):
    assert callable(getattr(torch._C._functorch, name))


def test_a_block_outside_transforms_reads_values_and_leaves_the_transform_as_it_was():
    seen = []

    def doubled(x):
        with _compat.outside_transforms():
            seen.append((_compat.in_transform(), torch.ones(2).sum().item()))
        assert _compat.in_transform()
        return x * 2

    given = torch.arange(6.0).reshape(3, 2)
    doubling = torch.vmap(torch.func.jacrev(doubled))
    assert torch.equal(doubling(given), 2 * torch.eye(2).expand(3, 2, 2))
    assert seen == [(False, 2.0)]
    assert not _compat.in_transform()


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


@torch.no_grad()
def test_a_hook_is_left_out_of_a_whole_graph_and_called_between_two():
    called: list[bool] = []
    read: list[bool] = []

    def hook(_module, _args, output):
        called.append(torch.compiler.is_compiling())
        return output * 2

    module = torch.nn.Linear(2, 2)
    module.register_forward_hook(_compat.untraced(hook, read.append))
    given = torch.ones(1, 2)
    expected = module(given) * 2
    whole = torch.compile(lambda x: module(x) * 4, backend="eager", fullgraph=True)
    assert torch.equal(whole(given), expected)
    assert len(called) == 1 and set(read) == {True}
    read.clear()
    apart = torch.compile(lambda x: module(x) * 2, backend="eager")
    assert torch.equal(apart(given), expected)
    assert called == [False, False] and set(read) == {False}


def test_torch_marks_what_is_constant_to_torch_compile():
    marked = torch.compiler.assume_constant_result(lambda: 1)
    assert getattr(marked, _compat.CONSTANT_MARK) is True


def test_what_is_only_read_is_told_from_a_call():
    seen = []

    class Noting(torch.nn.Module):
        def forward(self, x):
            seen.append(_compat.is_only_read())
            return x + 1

    torch.jit.trace(Noting(), torch.ones(1), check_trace=False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        Noting()(torch.ones(1))
    assert all(seen) and len(seen) == 2
    torch.export.export(Noting(), (torch.ones(1),))
    assert all(seen) and len(seen) > 2
    Noting()(torch.ones(1))
    assert not seen[-1]
