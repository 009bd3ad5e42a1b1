"""What stands out in a tensor and its numbers, against plain PyTorch; and how little of it is copied."""

import time

import pytest
import torch

from llmdbg.probes import values as probe
from llmdbg.probes.axes import cut, whole
from llmdbg.probes.chunks import pick
from llmdbg.probes.digits import FORMATS, digits
from llmdbg.probes.values import summary, unreadable, window

FLOATS = ["float64", "float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"]
INTEGERS = ["int64", "int32", "int16", "int8", "uint8", "bool"]


def made(dtype, *shape, seed=0):
    torch.manual_seed(seed)
    return (torch.randn(shape) * 20).to(getattr(torch, dtype))


def as_plain(tensor):
    return tensor.double() if tensor.is_floating_point() else tensor.long()


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("shape", [(3, 7, 40), (1, 1, 1000), (513,), (), (2, 1), (5, 2600)])
def test_extremes_and_the_largest_are_those_of_plain_torch(dtype, shape):
    tensor = made(dtype, *shape)
    plain = as_plain(tensor)
    found = summary(tensor, largest=5)

    assert found.size == tensor.numel()
    for each, extreme in ((found.min, plain.min()), (found.max, plain.max())):
        assert each.value == extreme.item() == plain[each.index].item()
    expected = plain.abs().flatten().double().sort(descending=True).values[:5].tolist()
    assert [abs(each.value) for each in found.largest] == expected
    assert all(plain[each.index].item() == each.value for each in found.largest)
    assert len({each.index for each in found.largest}) == len(found.largest)
    assert (found.nan, found.inf, found.negative_inf) == (0, 0, 0)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_a_window_is_exactly_these_numbers(dtype):
    tensor = made(dtype, 4, 9, 33)
    for view in (tensor, tensor.transpose(0, 2), tensor[1:, ::2, 3], tensor[2, 3, 4], tensor[:0]):
        numbers = view.tolist() if dtype in ("bool", "float64", "int64") else as_plain(view).tolist()
        flat = torch.tensor(numbers).flatten().tolist()
        assert list(window(view, 0, 10_000)) == flat
        assert list(window(view, 3, 5)) == flat[3:8]
        assert window(view, len(flat), 5) == ()
    assert all(isinstance(each, bool) for each in window(torch.tensor([True, False]), 0, 2))


def test_complex_numbers_are_ordered_by_magnitude():
    tensor = torch.tensor([[3 + 4j, 1j], [-6 + 8j, 0.5]], dtype=torch.complex64)
    found = summary(tensor)
    assert (found.min.index, found.max.index, found.max.value) == ((1, 1), (1, 0), -6 + 8j)
    assert window(tensor, 1, 2) == (1j, -6 + 8j)
    assert found.outlier_count is None


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", "float8_e5m2"])
def test_what_is_not_finite_is_counted_and_found(dtype):
    tensor = made(dtype, 4, 30, 70)
    for place, value in (((1, 2, 3), "nan"), ((3, 29, 69), "nan"), ((0, 5, 0), "inf"), ((2, 0, 1), "-inf")):
        tensor[place] = float(value)
    found = summary(tensor, largest=3)

    assert (found.nan, found.inf, found.negative_inf) == (2, 1, 1)
    assert found.first_nan == ((1, 2, 3), (3, 29, 69))
    assert (found.first_inf, found.first_negative_inf) == (((0, 5, 0),), ((2, 0, 1),))
    assert (found.min.index, found.max.index) == ((2, 0, 1), (0, 5, 0))
    assert {each.index for each in found.largest[:2]} == {(2, 0, 1), (0, 5, 0)}
    assert found.largest[2].value == max(as_plain(tensor)[as_plain(tensor).isfinite()].tolist(), key=abs)


def test_the_first_of_many_are_the_first():
    tensor = torch.full((3, 1000), float("nan"))
    tensor[0, :300] = 1
    found = summary(tensor)
    assert found.first_nan == ((0, 300), (0, 301), (0, 302), (0, 303))
    assert found.nan == 2700


def test_nothing_but_nan_has_no_extremes():
    found = summary(torch.full((3,), float("nan")))
    assert (found.min, found.max, found.largest, found.nan) == (None, None, (), 3)
    mixed = summary(torch.tensor([float("nan"), float("inf")]))
    assert mixed.min.index == mixed.max.index == (1,)


def test_nothing_at_all():
    assert summary(torch.zeros(0, 3)) == probe.ValueSummary(0)
    assert summary(torch.zeros(3, 0, dtype=torch.int64)).size == 0


def test_indices_are_those_of_the_whole_tensor():
    tensor = made("float32", 2, 9, 50)
    axes = (1, range(2, 9, 3), range(10, 50, 4))
    found = summary(cut(tensor, axes), axes, largest=4)
    assert all(tensor[each.index].item() == each.value for each in (found.min, found.max, *found.largest))
    assert found.size == 3 * 10


def test_outlier_dimensions():
    torch.manual_seed(0)
    tensor = torch.randn(2, 50, 400) * 0.3
    tensor[0, 7, 123], tensor[1, 3, 5] = -80.0, 40.0
    absmax = tensor.abs().amax((0, 1))
    rule = ((absmax >= 6) & (absmax >= 20 * absmax.median())).nonzero().flatten().tolist()

    found = summary(tensor)
    assert sorted(each.dimension for each in found.outliers) == sorted(rule) == [5, 123]
    assert [(each.dimension, each.absmax) for each in found.outliers] == [(123, 80.0), (5, 40.0)]
    axes = (0, range(50), range(100, 400))
    assert [each.dimension for each in summary(cut(tensor, axes), axes).outliers] == [123]
    assert summary(tensor * 0.01).outlier_count == 0, "nothing as large as 6"
    assert summary(torch.randn(5, 100) * 100).outlier_count == 0, "large all over"
    tensor[0, 0, 0] = float("nan")
    assert summary(tensor).outlier_count == 2


@pytest.mark.parametrize("view", ["whole", "transposed", "every other", "narrowed"])
def test_a_tensor_of_several_pieces(monkeypatch, view):
    monkeypatch.setattr("llmdbg.probes.chunks.PIECE", 1000)
    tensor = made("float32", 6, 41, 77)
    views = {"whole": tensor, "transposed": tensor.transpose(0, 2), "every other": tensor[::2, :, 1::3]}
    tensor = {**views, "narrowed": tensor[:, 3:9]}[view]
    tensor[1, 2, 3] = float("nan")
    found = summary(tensor, largest=20)
    plain = tensor.flatten().tolist()
    numbers = sorted((each for each in plain if each == each), key=abs, reverse=True)
    assert [each.value for each in found.largest] == numbers[:20]
    assert (found.min.value, found.max.value, found.nan) == (min(numbers), max(numbers), 1)
    assert found.first_nan == ((1, 2, 3),)


def test_what_cannot_be_read_says_why():
    assert "not in memory" in unreadable(torch.zeros(3, device="meta"))
    assert "uint64" in unreadable(torch.zeros(3, dtype=torch.uint64))
    assert "not laid out" in unreadable(torch.eye(3).to_sparse())
    assert "float4" in unreadable(torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2))
    assert all(unreadable(torch.zeros(2).to(getattr(torch, each))) == "" for each in (*FLOATS, *INTEGERS))


class Copied:
    """Counts what becomes of a tensor on the host: arrays, lists and single numbers."""

    def __init__(self, monkeypatch):
        self.bytes, self.times = 0, 0
        for name in ("numpy", "tolist", "item", "__array__"):
            self._count(monkeypatch, name)

    def _count(self, monkeypatch, name):
        before = getattr(torch.Tensor, name)

        def counted(tensor, *args, **kwargs):
            self.bytes += tensor.numel() * tensor.element_size()
            self.times += 1
            return before(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)


@pytest.fixture(scope="module")
def large():
    """50 million numbers, 200 MB."""
    torch.manual_seed(0)
    return torch.randn(50_000, 1000)


def test_the_end_of_fifty_million_numbers_is_there_without_the_others(large, monkeypatch):
    copied = Copied(monkeypatch)
    began = time.perf_counter()
    numbers = window(large, 49_999_000, 600)
    took = time.perf_counter() - began

    assert (copied.times, copied.bytes) == (1, 600 * 8)
    assert took < 0.05
    monkeypatch.undo()
    assert list(numbers) == large[-1, :600].tolist()
    across = window(large.T, 49_999_000, 600)
    assert list(across) == large[-50_000:, -1][-1000:-400].tolist()


def test_a_summary_of_fifty_million_numbers_copies_a_few(large, monkeypatch):
    copied = Copied(monkeypatch)
    found = summary(large)
    assert copied.times == 1
    assert copied.bytes < 2000
    monkeypatch.undo()
    assert found.max.value == large.max().item()
    assert found.largest[0].value == large.flatten()[large.abs().argmax()].item()


def test_looking_changes_nothing():
    tensor = made("float32", 5, 300)
    tensor[0, 0] = float("nan")
    before, version = tensor.clone(), tensor._version
    summary(tensor), window(tensor, 0, 10), pick(tensor, torch.tensor([1]))
    assert tensor._version == version
    assert torch.equal(tensor.view(torch.int32), before.view(torch.int32))


def test_a_gradient_is_no_trouble():
    tensor = torch.nn.Parameter(torch.arange(6.0))
    assert window(tensor, 4, 9) == (4.0, 5.0)
    assert summary(tensor, whole(tensor.shape)).max.value == 5


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]
)
def test_every_number_of_a_small_dtype_is_told_from_its_neighbours(dtype):
    kind = getattr(torch, dtype)
    bits = torch.int16 if kind.itemsize == 2 else torch.int8
    every = torch.arange(2 ** (8 * kind.itemsize), dtype=torch.int32).to(bits).view(kind)
    numbers = every.double()
    told = [digits(each, dtype) for each in numbers.tolist()]
    back = torch.tensor([float(each) for each in told], dtype=torch.float64).to(kind).double()
    assert ((back == numbers) | numbers.isnan()).all()
    assert max(map(len, told)) <= 11
    if kind.itemsize == 2:
        assert len(FORMATS) and digits(torch.tensor(0.1, dtype=kind).item(), dtype) == "0.1"


def test_numbers_of_the_other_dtypes_are_told_in_full():
    torch.manual_seed(0)
    for kind in (torch.float32, torch.float64):
        numbers = (torch.randn(2000, dtype=torch.float64) * torch.logspace(-38, 38, 2000, dtype=torch.float64)).to(kind)
        told = [digits(each, str(kind).removeprefix("torch.")) for each in numbers.tolist()]
        assert torch.equal(torch.tensor([float(each) for each in told], dtype=torch.float64).to(kind), numbers)
    assert digits(torch.tensor(0.1).item(), "float32") == "0.1"
    assert [digits(each, "float32") for each in (3.0, float("nan"), float("-inf"))] == ["3", "NaN", "-inf"]
    assert (digits(True, "bool"), digits(2**60 + 1, "int64"), digits(1 - 2.5j, "complex64")) == (
        "True",
        "1152921504606846977",
        "1-2.5j",
    )
