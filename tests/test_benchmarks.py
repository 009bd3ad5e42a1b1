"""The benchmarks: each runs, and measures exactly the rows of its table in benchmarks/README.md."""

import json

import pytest

from benchmarks import compare, table
from benchmarks.__main__ import BENCHMARKS, main
from tests.sessions import write_tiny_folder

SLOW = {"generation", "screen"}
"""These start programs, each of which imports torch."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_folder(tmp_path_factory.mktemp("models") / "tiny", context=2000)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Programs that are started here share two cores with other tests."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in BENCHMARKS]
)
def test_it_measures_every_row_of_its_table(name, folder, capsys):
    main([name, "--quick", "--model", str(folder)])

    report = json.loads(capsys.readouterr().out)
    found = report[name]
    text = table.README.read_text(encoding="utf-8")
    assert list(found) == table.rows(text, name)
    written = table.filled(text, name, BENCHMARKS[name].ROWS, found)
    assert table.rows(written, name) == list(found)


def test_a_row_that_is_not_measured_is_an_error(folder, monkeypatch):
    going_back = BENCHMARKS["going_back"]
    monkeypatch.setattr(going_back, "ROWS", {**going_back.ROWS, "another": ""})
    with pytest.raises(RuntimeError, match="another"):
        main(["going_back", "--quick", "--model", str(folder)])


@pytest.mark.slow
def test_two_checkouts_are_compared(folder, capsys):
    root = str(table.README.parents[1])
    compare.main([root, root, "--only", "program", "--quick", "--model", str(folder)])

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0].split("  ")[0] for line in lines] == [
        *("nothing armed", "nothing armed"),
        *("a condition on every layer", "a condition on every layer"),
        *("a stop at every layer", "a stop at every layer"),
        "reverse-step",
    ]


def test_figures_are_written_into_their_row():
    text = "a\n<!-- x -->\n| | t |\n| --- |\n| old | |\n<!-- end -->\n<!-- machine -->nothing yet<!-- end -->\n"
    spread = {"median": 1.0042, "first": 1.003, "third": 1.0151, "p95": 1.02, "count": 9}
    figure = {"here": {**spread, "median": 12.34}, "unit": "ms", "beside": {"× bare": spread, "bytes": spread}}
    written = table.with_machine(table.filled(text, "x", {"a row": "≤ 2", "another": ""}, {"a row": figure}), "here")

    assert "| a row | ≤ 2 | 12.3 ms | 1.004 (1.003 … 1.015) × bare; 1 bytes |\n" in written
    assert "| another | | not measured | |\n" in written
    assert "<!-- machine -->here<!-- end -->" in written
    assert "old" not in written
