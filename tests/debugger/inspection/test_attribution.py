"""Attribution wherever the run stands: it reads the lens there, costs one forward at most, and changes nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import CommandError
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.export import export
from tests.sessions import attribution_of, do, opened, tiny_session


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "bloom", "opt"])
@pytest.mark.parametrize(("line", "after"), [("goto 0@1", "0"), ("goto norm@1", "1"), ("goto sample@1", "1")])
def test_it_adds_up_to_the_lenss_logit_where_the_run_stands(name: str, line: str, after: str) -> None:
    session = tiny_session(name)
    if line.startswith("goto norm") and "norm" not in session.debuggee.anatomy.modules:
        pytest.skip("this model has no final norm")
    do(session, line)
    value = attribution_of(session)
    table = TOPICS["lens"].ask(session.inspector, "")
    row = next(row for row in table.rows if row.address == after)
    shown = value.logit if value.capped is None else value.capped
    assert value.after == after
    assert (value.id, value.position) == (table.prediction.id, table.position)
    assert shown == pytest.approx(row.followed[0].logit, abs=2e-5)
    assert value.sum == pytest.approx(sum(each.value for each in value.terms))
    assert value.sum == pytest.approx(value.logit, abs=2e-5)


def test_the_chosen_token_is_what_is_explained_and_another_if_named() -> None:
    session = tiny_session(temperature=3.0, seed=3)
    do(session, "goto sample@1")
    assert session.run.event.chosen is not None
    assert attribution_of(session).id == session.run.event.chosen
    assert attribution_of(session, '"b"').id == 98
    with pytest.raises(CommandError):
        attribution_of(session, "99999")


def test_whoever_goes_on_asking_costs_no_forward() -> None:
    session = tiny_session(max_new_tokens=8)
    do(session, "goto 0@1")
    attribution_of(session)
    runs: list[int] = []
    original = session.replay.run_token
    session.replay.run_token = lambda token, *rest: (runs.append(token), original(token, *rest))[1]  # type: ignore[method-assign]
    for _ in range(20):
        do(session, "next")
        TOPICS["attribution"].ask(session.inspector, "")
    assert runs == []


def test_before_a_layer_has_run_a_sentence_says_so() -> None:
    session = tiny_session()
    assert "nothing has run yet" in str(TOPICS["attribution"].ask(session.inspector, ""))
    do(session, "goto embed")
    assert "no layer has run yet" in str(TOPICS["attribution"].ask(session.inspector, ""))


def test_it_is_written_to_files(tmp_path: Path) -> None:
    session = tiny_session()
    session.exporter = export
    do(session, "goto logits@1")
    value = attribution_of(session)
    for suffix in ("csv", "json", "txt", "svg", "png"):
        said = do(session, f"info attribution > {tmp_path}/parts.{suffix}").data
        assert said.startswith(f"wrote {tmp_path}/parts.{suffix} (")
    with (tmp_path / "parts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(each["part"], float(each["adds"])) for each in rows] == [
        (each.address, each.value) for each in value.terms
    ]
    document = json.loads((tmp_path / "parts.json").read_text(encoding="utf-8"))
    assert [each["value"] for each in document["terms"]] == [each.value for each in value.terms]
    assert (tmp_path / "parts.txt").read_text(encoding="utf-8").splitlines() == answer_lines(value)


@pytest.mark.slow
def test_left_padding_changes_no_part() -> None:
    told = []
    for padding in (0, 6):
        session = opened("smollm2", "The capital of France is", greedy=True, max_new_tokens=2, left_pad=padding)
        do(session, "goto logits")
        value = attribution_of(session)
        assert (value.text, value.position) == (" Paris", len(session.debuggee.prompt.ids) - 1)
        assert value.whole == ()
        told.append([each.value for each in value.terms])
    assert told[0] == pytest.approx(told[1], abs=5e-3)


def test_an_edit_that_replaces_a_layer_leaves_its_earlier_parts_out_of_the_sum() -> None:
    session = tiny_session()
    do(session, "goto logits@1")
    do(session, "zero 0")
    do(session, "goto logits@1")
    value = attribution_of(session)
    assert value.whole == ("0",)
    assert value.sum == pytest.approx(value.logit, abs=2e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_an_ablated_part_adds_nothing(name: str) -> None:
    session = tiny_session(name)
    mlp = next(each.address for each in session.debuggee.anatomy.stages if each.address.rpartition(".")[2] == "mlp")
    do(session, "goto logits@1")
    assert any(each.address == mlp and each.value for each in attribution_of(session).terms)
    do(session, f"zero {mlp}")
    do(session, "goto logits@1")
    value = attribution_of(session)
    assert sum(each.value for each in value.terms if each.address == mlp) == 0.0
    assert value.sum == pytest.approx(value.logit, abs=2e-5)
