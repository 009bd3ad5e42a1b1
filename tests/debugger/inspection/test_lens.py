"""What asking for the lens costs, when it is believed, and that it follows the run wherever that goes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch

from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import CommandError, LensError
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.answers.lens import prediction_history
from llmdbg.frontends.export import export
from llmdbg.probes.lens import Lens
from llmdbg.probes.lens_table import lens_table
from tests.sessions import do, lens_of, tiny_session, tokens_run_again


def test_all_rows_are_one_head_product(monkeypatch: pytest.MonkeyPatch) -> None:
    session = tiny_session()
    do(session, "goto logits@1")
    lens_of(session)
    sizes: list[int] = []
    original = Lens.logits
    monkeypatch.setattr(
        Lens, "logits", lambda self, residual, **how: (sizes.append(len(residual)), original(self, residual, **how))[1]
    )
    assert len(lens_of(session).rows) == 4
    assert sizes == [3]


def test_whoever_goes_on_asking_costs_no_forward() -> None:
    session = tiny_session(max_new_tokens=8)
    do(session, "goto 0@1")
    lens_of(session)
    runs = tokens_run_again(session)
    for _ in range(20):
        do(session, "next")
        lens_of(session)
    assert runs == []


def test_what_was_not_watched_costs_one_forward() -> None:
    session = tiny_session()
    do(session, "goto 0@1")
    lens_of(session)
    do(session, "goto 0@3")
    runs = tokens_run_again(session)
    lens_of(session)
    assert len(runs) <= 1


def test_nobody_asking_costs_nothing() -> None:
    session = tiny_session(max_new_tokens=8)
    runs = tokens_run_again(session)
    do(session, "goto sample@5")
    assert runs == []
    assert session.run.recorder.addresses(5) == frozenset()


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "opt"])
def test_it_is_held_against_a_whole_forward_before_the_first_answer(name: str) -> None:
    session = tiny_session(name)
    do(session, "goto 0")
    assert session.run.metrics.lens() is not None
    assert session.run.metrics.unverified()
    place, stop = session.run.place, session.stop
    table = lens_of(session)
    assert not session.run.metrics.unverified()
    assert [row.address for row in table.rows][-1] == "0"
    assert (session.run.place, session.stop) == (place, stop)


def test_one_that_does_not_give_the_models_logits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lens, "verified_against", lambda *_: False)
    session = tiny_session()
    do(session, "goto 0")
    for topic in ("lens", "attribution"):
        with pytest.raises(LensError) as refused:
            TOPICS[topic].ask(session.inspector, "")
        assert str(refused.value) == session.run.metrics.no_lens
        assert "\n" not in str(refused.value)
    do(session, "continue")
    assert session.end is not None


@pytest.mark.parametrize(
    "line", ["goto embed@1", "goto 0.self_attn@1", "goto norm@1", "goto logits@1", "goto sample@1"]
)
def test_every_stage_that_has_run_is_a_row(line: str) -> None:
    session = tiny_session()
    do(session, line)
    ran = {"embed": 1, "0.self_attn": 1, "norm": 3, "logits": 4, "sample": 4}
    addresses = [row.address for row in lens_of(session).rows]
    assert addresses == ["embed", "0", "1", "logits"][: ran[line.split()[1].partition("@")[0]]]


def test_at_another_token_and_back_it_says_the_same() -> None:
    session = tiny_session()
    do(session, "goto 1@1")
    first = lens_of(session)
    do(session, "goto logits@3")
    assert lens_of(session) != first
    do(session, "goto 1@1")
    assert lens_of(session) == first


def test_tokenize_has_a_sentence_and_an_unknown_token_an_error() -> None:
    session = tiny_session()
    assert isinstance(TOPICS["lens"].ask(session.inspector, ""), str)
    do(session, "goto 0")
    for wrong in ("99999", '"two tokens"', '""'):
        with pytest.raises(CommandError) as refused:
            lens_of(session, wrong)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("layer", "good"), [("0", ["embed"]), ("1", ["embed", "0"])])
def test_what_is_not_finite_leads_to_nothing_and_is_said(bad: float, layer: str, good: list[str]) -> None:
    session = tiny_session()
    weight = session.debuggee.anatomy.modules[f"{layer}.mlp"].get_parameter("down_proj.weight")
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[3, 3] = bad
        do(session, "goto logits")
        table = lens_of(session)
        assert [row.address for row in table.rows if math.isfinite(row.entropy)] == good
        assert (table.first, table.stays) == (None, None)
        assert f"the scores after {layer} and" in table.notes[0]
        assert "has no probability" in prediction_history(table)
        assert answer_lines(table)[-1] == f"note: {table.notes[0]}"
        with pytest.raises(LensError, match="not finite") as refused:
            TOPICS["attribution"].ask(session.inspector, "")
        assert "\n" not in str(refused.value)
    finally:
        session.close()
        with torch.no_grad():
            weight.copy_(before)


def test_a_narrower_embedding_has_a_sentence() -> None:
    session = tiny_session("opt")
    do(session, "goto embed")
    assert "reads from layer 0 on" in str(TOPICS["lens"].ask(session.inspector, ""))


def test_it_is_written_to_files(tmp_path: Path) -> None:
    session = tiny_session()
    session.exporter = export
    do(session, "goto logits@1")
    table = lens_of(session, '"a"')
    for suffix in ("csv", "json", "txt", "svg", "png"):
        said = do(session, f'info lens "a" > {tmp_path}/lens.{suffix}').data
        assert said.startswith(f"wrote {tmp_path}/lens.{suffix} (")
    with (tmp_path / "lens.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(row.top) + len(row.followed) for row in table.rows)
    named = [each for each in rows if each["followed"] == "True"]
    assert [int(each["rank"]) for each in named] == [row.followed[0].rank for row in table.rows]
    assert [float(each["prob"]) for each in named] == [row.followed[0].prob for row in table.rows]
    document = json.loads((tmp_path / "lens.json").read_text(encoding="utf-8"))
    assert [row["entropy"] for row in document["rows"]] == [row.entropy for row in table.rows]
    assert (tmp_path / "lens.txt").read_text(encoding="utf-8").splitlines() == answer_lines(table)


@pytest.mark.parametrize("layers", [0, 2])
def test_the_models_own_logits_stay_what_they_are(layers: int) -> None:
    lens = Lens(4, None, None, torch.nn.Linear(4, 9))
    own = torch.randn(1, 9)
    before = own.clone()
    vectors = {str(layer): torch.randn(4) for layer in range(layers)}
    table = lens_table(lens, vectors, {}, str, position=0, own=("logits", own))
    assert torch.equal(own, before)
    assert table.rows[-1].top[0].logit == float(before.max())


def test_scores_of_minus_infinity_have_no_share() -> None:
    own = torch.tensor([[0.0, float("-inf"), 0.0, float("-inf")]])
    row = lens_table(Lens(4, None, None, torch.nn.Linear(4, 4)), {}, {}, str, position=0, own=("logits", own)).rows[0]
    assert row.entropy == pytest.approx(0.6931472)
    assert [each.prob for each in row.top] == [0.5, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(("name", "tied"), [("gpt2", True), ("llama", False)])
def test_a_tied_table_that_reads_itself_back_is_said_to(name, tied):
    session = tiny_session(name)
    model = session.inspector.model
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    do(session, "until 0")
    table = lens_of(session)
    # Where positions are added to the row, it may read back something else, and the note would be wrong.
    own = table.rows[0].top[0].id == session.debuggee.prompt.ids[-1]
    assert any("reads back the token itself" in note for note in table.notes) == (tied and own)
    assert own or not tied, "the tiny model no longer shows what is tested"
