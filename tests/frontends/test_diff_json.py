"""The JSON of `llmdbg diff`: its fields are those that docs/diff.md names, and strict JSON holds them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from llmdbg.cli import main
from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.outcome import FindingKind, Verdict
from llmdbg.frontends.answers import answer_json
from llmdbg.frontends.sanitize import json_text
from tests.debugger.comparison.sides import faulty, planted, side
from tests.tiny import tiny_model

DOCUMENT = (Path(__file__).parents[2] / "docs/diff.md").read_text()


def _documented(heading: str) -> set[str]:
    """The fields named in the first column of the table after a line."""
    rows = DOCUMENT.split(f"\n{heading}\n", 1)[1].strip().split("\n\n")[0].splitlines()
    return {name for row in rows[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def _another_head(model: PreTrainedModel) -> None:
    model.lm_head.weight.data = model.lm_head.weight.data.flip(0)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """A comparison whose texts part."""
    fields: dict[str, Any] = answer_json(planted(tiny_model("llama"), _another_head))
    return fields


def test_every_field_is_documented_and_every_documented_field_is_there(found: dict[str, Any]) -> None:
    """What a script reads has a name that a reader of the page finds."""
    assert {"event", *found} == _documented("Of the object:")
    assert found["reference"].keys() == _documented("Of `reference` and `candidate`:")
    assert found["candidate"].keys() == found["reference"].keys()
    assert found["findings"][0].keys() == _documented("Of a finding:")
    assert found["stages"][0].keys() == _documented("Of a stage:")
    assert found["parting"].keys() == _documented("Of the parting:")
    assert found["alignment"][0].keys() == _documented("Of a piece of the alignment:")
    assert found["shares"].keys() == {"first", "together"}
    assert found["parting"]["pair"].keys() == {"reference", "candidate", "reference_text", "candidate_text"}
    assert found["parting"]["candidates"][0].keys() == {"id", "text", "reference", "candidate"}


def test_every_field_of_a_bisection_is_documented() -> None:
    """It is null without `--bisect`."""
    model = tiny_model("llama")
    made = compare(side(model), side(faulty(model, _another_head)), bisects=True)
    assert answer_json(made)["bisection"].keys() == _documented("Of the bisection:")
    assert answer_json(replace(made, bisection=None))["bisection"] is None


def test_the_words_that_fields_take_are_documented() -> None:
    """The verdicts, and the kinds of findings."""
    assert all(f"`{verdict.value}`" in DOCUMENT for verdict in Verdict)
    assert all(f"`{kind.value}`" in DOCUMENT for kind in FindingKind)


def test_values_have_the_documented_types(found: dict[str, Any]) -> None:
    """Numbers are numbers, lists have an entry for each token, and nothing else is left in it."""
    tokens = len(found["reference"]["ids"])
    for stage in found["stages"]:
        assert isinstance(stage["equal"], bool)
        assert all(
            stage[name] is None or isinstance(stage[name], float) for name in ("accumulated", "isolated", "floor")
        )
        assert len(stage["by_token"]) == (tokens if stage["depth"] == 1 else 0)
    assert isinstance(found["reference"]["versions"]["torch"], str)
    json.loads(json_text(found))


def test_numbers_that_are_not_finite_are_strings() -> None:
    """Strict JSON has no word for them."""
    made = planted(tiny_model("llama"), _another_head)
    stage = replace(
        made.stages[0], accumulated=float("inf"), isolated=float("nan"), floor=1.0, by_token=(float("-inf"),)
    )
    fields = answer_json(replace(made, stages=(stage,)))["stages"][0]
    assert (fields["accumulated"], fields["isolated"], fields["times_floor"]) == ("Infinity", "NaN", "NaN")
    assert fields["by_token"] == ["-Infinity"]


def test_stdout_is_one_object_whatever_happens(
    tiny_folder: Path, a_copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A comparison, and an error."""
    assert main(["diff", str(tiny_folder), str(a_copy()), "-p", "Hello", "-n", "1", "--greedy", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert {"event", "verdict"} < json.loads(line).keys()
    assert main(["diff", str(tiny_folder), "no-such-folder", "-p", "Hello", "--json"]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "error"
