"""Slices as they are typed, against Python's own."""

import random

import pytest
import torch

from llmdbg.debugger.inspection.slices import read_slice, slice_text
from llmdbg.errors import CommandError
from llmdbg.probes.axes import cut, index_of

SHAPE = (2, 26, 57)
WRITTEN = [
    "", "[]", "[0]", "[-1]", "[1, -1, 10:20]", "[0,3]", "[:, 2:]", "[..., 5]", "[0, ..., ::2]", "[...]", "[:,:,:]",
    "[ 1 , : 4 : 3 ]", "[:, -5:-2]", "[:,3:100]", "[0, 5, 6]", "[..., 0, 0, 0]", "[0, …, 1]",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_what_a_slice_takes_is_what_python_takes(text):
    tensor = torch.arange(2 * 26 * 57).reshape(SHAPE)
    axes = read_slice(text, SHAPE)
    inside = text.strip("[]").replace("…", "...")
    expected = tensor if not inside.strip() else eval(f"tensor[{inside}]", {"tensor": tensor})
    taken = cut(tensor, axes)
    assert torch.equal(taken, expected)
    assert torch.equal(cut(tensor, read_slice(slice_text(axes, SHAPE), SHAPE)), expected), "it can be written again"
    for place in {0, taken.numel() // 2, taken.numel() - 1}:
        assert tensor[index_of(place, axes)] == taken.flatten()[place]


def test_a_number_alone_has_no_dimension():
    assert read_slice("", ()) == ()
    assert read_slice("[...]", ()) == ()
    assert read_slice("[:]", (0,)) == (range(0),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[2]", "dimension 0 has no 2"),
        ("[0, -27]", "dimension 1 has no -27"),
        ("[0,0,0,0]", "names 4 dimensions, and the tensor has 3"),
        ("[..., ...]", "more than one"),
        ("[::0]", "step of 0"),
        ("[::-1]", "step of -1"),
        ("[:, 5:5]", "selects nothing"),
        ("[30:]", "selects nothing"),
        ("[a]", "cannot be read at 'a'"),
        ("[1.5]", "cannot be read"),
        ("[0,,1]", "cannot be read"),
        ("[1:2:3:4]", "cannot be read"),
        ("[True]", "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(text, says):
    with pytest.raises(CommandError, match=says) as refused:
        read_slice(text, SHAPE)
    assert "\n" not in str(refused.value)


def test_slices_are_written_short():
    for text, short in (
        ("[0, -1, :]", "[0, 25]"),
        ("[:, :, ::2]", "[:, :, ::2]"),
        ("[..., 1:57]", "[:, :, 1:]"),
        ("[]", ""),
    ):
        assert slice_text(read_slice(text, SHAPE), SHAPE) == short


def test_random_slices_take_what_python_takes_or_are_refused():
    chance, taken = random.Random(0), 0
    while taken < 200:
        shape = tuple(chance.randint(1, 6) for _ in range(chance.randint(1, 4)))
        text = f"[{', '.join(random_part(chance) for _ in range(chance.randint(1, len(shape))))}]"
        tensor = torch.arange(torch.Size(shape).numel()).view(shape)
        try:
            expected = eval(f"tensor{text}", {"tensor": tensor})
        except IndexError:
            expected = torch.empty(0)
        if not expected.numel():
            with pytest.raises(CommandError):
                read_slice(text, shape)
            continue
        taken += 1
        axes = read_slice(text, shape)
        assert torch.equal(cut(tensor, axes), expected), text
        assert read_slice(slice_text(axes, shape), shape) == axes
        places = [tensor[index_of(place, axes)].item() for place in range(expected.numel())]
        assert places == expected.flatten().tolist()


def random_part(chance):
    if chance.random() < 0.4:
        return str(chance.randint(-6, 5))
    first, last = (chance.choice(["", str(chance.randint(-7, 7))]) for _ in range(2))
    return f"{first}:{last}{chance.choice(['', ':', ':2', ':3'])}"
