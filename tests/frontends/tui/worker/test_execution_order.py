"""Which of two modules completes first, from what was seen."""

from itertools import pairwise

import pytest

from llmdbg.frontends.tui.worker.execution_order import ExecutionOrder, known_first


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("mlp.gate_proj", "mlp.up_proj", True),
        ("mlp.up_proj", "mlp.gate_proj", False),
        ("mlp.gate_proj", "mlp", True),
        ("self_attn.o_proj", "mlp.gate_proj", True),
        ("mlp.up_proj", "mlp.other", None),
    ],
)
def test_parts_of_one_module_come_in_the_order_they_were_seen(one, other, expected):
    """The module around both completes after both, which says nothing about them."""
    order = ExecutionOrder()
    seen = ["self_attn", "mlp.gate_proj", "mlp.act_fn", "mlp.up_proj", "mlp.down_proj", "mlp"]
    for before, after in pairwise(seen):
        order.note(before, after)
    assert known_first(order.pairs, one, other) is expected
