"""Values that are looked into step by step: pages, shapes before numbers, and nothing of a class's own runs."""

import pytest
import torch
from torch import nn

from llmdbg.debugger.inspection import lazy_values
from llmdbg.debugger.inspection.lazy_values import MOST_ROWS, Group, LazyValues, Text
from llmdbg.errors import CommandError


@pytest.fixture
def values():
    return LazyValues(dict)


def names(rows):
    return [each.name for each in rows]


def test_a_tensor_is_its_shape_and_nothing_is_read_until_it_is_expanded(values, monkeypatch):
    read = []
    monkeypatch.setattr(lazy_values, "window", lambda tensor, *page: read.append(page) or [0.0] * page[1])
    row = values.row("x", torch.zeros(3, 5000), "x")
    assert (row.text, row.kind, row.indexed) == ("[3, 5000] float32 cpu", "Tensor", 3)
    inner = values.rows(row.reference, named=False)
    assert names(inner) == ["[0]", "[1]", "[2]"] and read == []
    page = values.rows(inner[1].reference, 4000, 3, named=False)
    assert read == [(4000, 3)]
    assert [each.expression for each in page] == ["x[1][4000]", "x[1][4001]", "x[1][4002]"]


def test_numbers_are_those_of_the_tensor(values):
    row = values.row("x", torch.tensor([0.1, float("nan"), -float("inf"), 1e10]))
    statistics, *numbers = values.rows(row.reference)
    assert [each.text for each in numbers] == ["0.1", "nan", "-inf", "1e+10"]
    assert statistics.name == "statistics" and "nan:1 inf:1" in statistics.text
    assert values.row("s", torch.tensor(7)).text == "7  [] int64 cpu"
    assert values.row("s", torch.tensor(7)).reference == 0
    assert values.row("e", torch.zeros(0, 3)).reference == 0


def test_no_more_than_a_thousand_rows_are_made_at_once(values):
    row = values.row("x", torch.zeros(5000))
    rows = values.rows(row.reference, named=False)
    assert len(rows) == MOST_ROWS + 1
    assert (rows[-1].name, rows[-1].text) == ("…", "4,000 more")


def test_containers_and_modules(values):
    module = nn.Sequential(nn.Linear(2, 2))
    row = values.row("v", {"a": [1, (2,)], 3: module}, "v")
    a, three = values.rows(row.reference)
    assert (a.name, a.expression, three.expression) == ("a", "v['a']", "v[3]")
    assert [each.text for each in values.rows(a.reference)] == ["1", "tuple of 1 value: 2"]
    (linear,) = values.rows(three.reference)
    assert names(values.rows(linear.reference)) == ["weight", "bias"]


def test_no_code_of_a_class_runs(values):
    def refuse(*_):
        raise AssertionError

    hostile = dict.fromkeys(("__len__", "__iter__", "__repr__", "__getitem__"), refuse)
    Hostile = type("Hostile", (list,), hostile)

    row = values.row("h", Hostile([1, 2]))
    assert names(values.rows(row.reference)) == ["[0]", "[1]"]


def test_groups_are_made_when_somebody_looks_and_may_be_paged(values):
    made = []
    group = Group("", lambda: made.append(1) or [(str(each), Text("t"), "") for each in range(9)], 9)
    reference = values.hold(group)
    assert made == []
    assert names(values.rows(reference, 7, 5)) == ["7", "8"]


def test_a_reference_ends_with_its_stop(values):
    reference = values.hold([1])
    values.forget()
    with pytest.raises(CommandError, match="earlier stop"):
        values.rows(reference)
    assert values.hold([1]) != reference


def test_the_place_of_an_element_is_known_in_what_the_stage_returned_alone(values):
    out = values.row("out", torch.zeros(2, 3), "out")
    row = values.rows(out.reference, named=False)[1]
    assert values.value(row.reference, "[2]")[1] == (1, 2)
    other = values.row("x", torch.zeros(3), "x")
    assert values.value(other.reference, "[2]")[1] is None
