"""Which positions of a batch's prompts are padding, also where the mask is wrong or missing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from llmdbg.engine.program.padding import Marks, ended_by_padding, marks_of, padding_of

PAD_ALONE = Marks(frozenset({0}), frozenset({1, 2}))
PAD_ENDS = Marks(frozenset({2}), frozenset({1, 2}))
LEFT = [[0, 0, 5, 6], [7, 8, 9, 3]]
RIGHT = [[5, 6, 0, 0], [7, 8, 9, 3]]


def test_marks_are_of_the_configuration_and_the_tokenizer() -> None:
    configured = SimpleNamespace(pad_token_id=0, bos_token_id=1, eos_token_id=[2, 3])
    assert marks_of(configured, None, SimpleNamespace(pad_token_id=None)) == Marks(frozenset({0}), frozenset({1, 2, 3}))


@pytest.mark.parametrize(
    ("prompts", "masks", "marks", "expected"),
    [
        (LEFT, [[0, 0, 1, 1], [1, 1, 1, 1]], PAD_ALONE, [(2, 0), (0, 0)]),
        (RIGHT, [[1, 1, 0, 0], [1, 1, 1, 1]], PAD_ALONE, [(0, 2), (0, 0)]),
        (LEFT, None, PAD_ALONE, [(2, 0), (0, 0)]),
        (RIGHT, [[1, 1, 1, 1], [1, 1, 1, 1]], PAD_ALONE, [(0, 2), (0, 0)]),
        (LEFT, [[0, 1, 1, 1], [1, 1, 1, 1]], PAD_ALONE, [(2, 0), (0, 0)]),
        ([[5, 0, 6, 7], [7, 8, 9, 3]], None, PAD_ALONE, [(0, 0), (0, 0)]),
        # The id that ends a text pads it too: that which nothing hides is a row's own.
        ([[2, 2, 5, 6], [7, 8, 9, 3]], [[0, 0, 1, 1], [1, 1, 1, 1]], PAD_ENDS, [(2, 0), (0, 0)]),
        ([[2, 2, 2, 6], [2, 8, 9, 3]], [[0, 0, 1, 1], [1, 1, 1, 1]], PAD_ENDS, [(2, 0), (0, 0)]),
    ],
)
def test_padding_at_both_ends(
    prompts: list[list[int]], masks: list[list[int]] | None, marks: Marks, expected: list[tuple[int, int]]
) -> None:
    assert padding_of(prompts, masks, marks) == expected


@pytest.mark.parametrize(
    ("later", "expected"), [([5, 6], 0), ([5, 2], 0), ([5, 2, 0, 0], 2), ([5, 2, 2, 2], 2), ([5, 0, 0], 0), ([], 0)]
)
def test_a_row_that_has_ended_is_fed_padding(later: list[int], expected: int) -> None:
    marks = Marks(frozenset({0, 2}), frozenset({2}))
    assert ended_by_padding(later, marks) == expected
