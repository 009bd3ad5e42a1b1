"""Values of another engine, laid out as this run's are."""

from __future__ import annotations

import torch

from llmdbg.debugger.comparison.references.source import error_of, is_another_function

ONE = torch.arange(12.0).reshape(1, 3, 4)


def test_a_batch_dimension_and_a_tuple_are_layout() -> None:
    """vLLM flattens the batch, and its projections return a tuple."""
    for theirs in (ONE, ONE[0], (ONE[0], None), {"0": ONE[0]}, (ONE, ONE[0])):
        for ours in (ONE, (ONE,)):
            error = error_of(ours, theirs)
            assert error is not None
            assert error.equal
    error = error_of(ONE, (ONE[0] * 2, None))
    assert error is not None
    assert error.relative == 0.5
    assert error_of(ONE, None) is None


def test_an_input_of_another_width_is_of_another_function() -> None:
    """A fused activation takes two vectors at once."""
    assert is_another_function({"0.0": ONE}, {"0": torch.cat((ONE, ONE), -1)[0]})
    assert not is_another_function({"0.0": ONE}, {"0": ONE[0]})
    assert not is_another_function({"0.0": ONE}, {"0": ONE, "1": ONE})
    assert not is_another_function({"0.0": torch.tensor([[1, 2]])}, {"0": torch.tensor([1, 2, 3])})
