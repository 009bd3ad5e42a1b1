"""The lens as a table, against the model's own norm and head run by hand on its own hidden states."""

from __future__ import annotations

import pytest
import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import CommandError, LensError
from llmdbg.probes.lens import Lens
from llmdbg.probes.lens_table import LensTable, lens_table
from tests.sessions import do, lens_of, opened, tiny_session

ARCHITECTURES = [
    *("llama", "mistral", "gemma2", "gemma3", "gpt2", "gpt_neox", "opt", "phi3", "mixtral", "falcon"),
    *("bloom", "cohere", "granite", "olmo2", "mamba", "mpt", "deepseek_v3"),
]
# A product over many rows may add up in another order than one over a single row.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2}


def residuals(session: Debugger, position: int) -> dict[str, torch.Tensor]:
    """What a forward over the whole sequence, with hooks of our own, has after each layer at a position."""
    model, found = session.inspector.model, {}
    ids = [*session.debuggee.prompt.ids, *session.debuggee.generated[: session.stop.token]]

    def keep(name: str):
        def hook(_module, _args, output):
            output = output[0] if isinstance(output, tuple) else output
            found[name] = output.reshape(1, len(ids), -1)[0, position].clone()

        return hook

    handles = [
        session.debuggee.anatomy.modules[stage.address].register_forward_hook(keep(stage.address))
        for stage in session.debuggee.anatomy.layers()
    ]
    with torch.no_grad():
        model(torch.tensor([ids], device=model.device), use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def by_hand(session: Debugger, residual: torch.Tensor) -> torch.Tensor:
    """Scores (n, vocabulary) float32 of residuals (n, width) by the modules of the architectures above, written out."""
    model, config = session.inspector.model, session.inspector.model.config
    hidden = residual
    if (norm := session.debuggee.anatomy.modules.get("norm")) is not None:
        hidden = norm(hidden)
    if hasattr(model.get_decoder(), "project_out") and model.get_decoder().project_out is not None:
        hidden = model.get_decoder().project_out(hidden)
    scores = model.get_output_embeddings()(hidden)
    if (scale := getattr(config, "logit_scale", None)) is not None:
        scores = scores * scale
    if (scaling := getattr(config, "logits_scaling", None)) is not None:
        scores = scores / scaling
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        scores = torch.tanh(scores / cap) * cap
    return scores.float()


def check(session: Debugger, table: LensTable, position: int, tolerance: float) -> None:
    expected = residuals(session, position)
    assert {row.address for row in table.rows} - {"embed", "logits"} == set(expected)
    with torch.no_grad():
        for row in table.rows:
            if row.address not in expected:
                continue
            scores = by_hand(session, expected[row.address][None])[0]
            probs = torch.softmax(scores, dim=-1)
            scale = float(scores.abs().max())
            assert row.layer == int(row.address)
            assert [each.logit for each in row.top] == pytest.approx(
                scores.topk(len(row.top)).values.tolist(), abs=tolerance * max(1.0, scale)
            )
            for each in row.top:
                assert each.prob == pytest.approx(float(probs[each.id]), abs=4 * tolerance * max(1.0, scale))
            entropy = float(torch.special.entr(probs).sum())
            assert row.entropy == pytest.approx(entropy, abs=20 * tolerance * max(1.0, scale))
            for told in row.followed:
                near = tolerance * max(1.0, scale)
                least, most = int((scores > scores[told.id] + near).sum()), int((scores > scores[told.id] - near).sum())
                assert least + 1 <= told.rank <= most + 1


@pytest.mark.parametrize("where", ["logits", "sample@2"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_the_models_own_norm_and_head_on_its_own_hidden_states(name: str, where: str) -> None:
    session = tiny_session(name)
    do(session, f"goto {where}")
    table = lens_of(session)
    layers = [stage.address for stage in session.debuggee.anatomy.layers()]
    assert [row.address for row in table.rows if row.address in layers] == layers
    check(session, table, table.position, TOLERANCE[torch.float32])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_where_the_arithmetic_is_the_same_it_is_bitwise_the_same(name: str) -> None:
    session = tiny_session(name)
    do(session, "goto logits")
    rows = [row for row in lens_of(session, '"a" "b" "z"').rows if row.layer is not None]
    expected = residuals(session, len(session.debuggee.prompt.ids) - 1)
    with torch.no_grad():
        # A product over as many rows as the lens has, the embedding's among them where it is as wide.
        lead = [row for row in lens_of(session).rows if row.address == "embed"]
        stacked = torch.stack([*([expected["0"]] if lead else []), *expected.values()])
        scores = by_hand(session, stacked)[len(lead) :]
    for row, score in zip(rows, scores, strict=True):
        assert [each.logit for each in row.top] == score.topk(len(row.top)).values.tolist()
        for told in row.followed:
            assert told.logit == float(score[told.id])
            assert told.rank == int((score > score[told.id]).sum()) + 1


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_in_bfloat16_too(name: str) -> None:
    session = tiny_session(name)
    session.inspector.model.to(torch.bfloat16)
    try:
        do(session, "run")
        do(session, "goto logits@1")
        table = lens_of(session)
        check(session, table, table.position, TOLERANCE[torch.bfloat16])
    finally:
        session.close()
        session.inspector.model.to(torch.float32)


@pytest.mark.parametrize("name", ["llama", "gemma2", "opt", "bloom"])
def test_the_last_row_is_bitwise_the_models_logits(name: str) -> None:
    session = tiny_session(name)
    do(session, "goto logits@1")
    logits = session.run.event.trail[0][1][0]
    last = lens_of(session).rows[-1]
    assert lens_of(session).model
    assert last.address == "logits"
    assert [each.logit for each in last.top] == logits.topk(len(last.top)).values.tolist()
    assert [each.id for each in last.top] == logits.topk(len(last.top)).indices.tolist()


def test_an_earlier_position_of_the_prompt_is_read_where_the_focus_is() -> None:
    session = tiny_session()
    do(session, "goto logits")
    do(session, "focus 3")
    table = lens_of(session)
    assert table.position == 3
    assert not table.model
    assert table.rows[-1].address == "1"
    check(session, table, 3, TOLERANCE[torch.float32])


def test_inside_the_stack_there_is_what_has_run() -> None:
    session = tiny_session()
    do(session, "goto 1.mlp@1")
    assert [row.address for row in lens_of(session).rows] == ["embed", "0"]
    do(session, "step")
    do(session, "goto 1@1")
    assert [row.address for row in lens_of(session).rows] == ["embed", "0", "1"]


def test_the_prediction_and_its_history() -> None:
    session = tiny_session()
    do(session, "goto sample@2")
    table = lens_of(session)
    assert session.stop.chosen is not None
    assert table.prediction is not None
    assert table.prediction.id == session.stop.chosen.id
    ranks = [(row.address, row.followed[0].rank) for row in table.rows]
    leads = [address for address, rank in ranks if rank == 1]
    assert table.first == leads[0]
    behind = [address for address, rank in ranks if rank != 1]
    after = [address for address, _ in ranks]
    stays = after[after.index(behind[-1]) + 1 :] if behind else after
    assert table.stays == (stays[0] if stays else None)


@pytest.mark.parametrize(
    ("leaders", "first", "stays"),
    [
        ([2, 2, 2, 2], "0", "0"),
        ([0, 2, 1, 2], "1", "3"),
        ([0, 1, 2, 2], "2", "2"),
        ([0, 1, 0, 2], "3", "3"),
        ([2, 2, 0, 1], None, None),
    ],
)
def test_where_it_first_leads_and_from_where_it_stays(leaders: list[int], first: str | None, stays: str | None) -> None:
    head = torch.nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(3))
    # The second is close behind in every row: only rank 1 leads.
    vectors = {
        str(row): torch.eye(3)[leader] * 2 + torch.eye(3)[(leader + 1) % 3] for row, leader in enumerate(leaders)
    }
    table = lens_table(Lens(3, None, None, head), vectors, {}, str, position=0, top=2)
    assert table.prediction is not None
    assert table.prediction.id == leaders[-1]
    if leaders[-1] == 2:
        assert (table.first, table.stays) == (first, stays)
    followed = lens_table(Lens(3, None, None, head), vectors, {}, str, position=0, top=2, follow=[2])
    expected = [row for row, leader in zip("0123", leaders, strict=True) if leader == 2]
    assert followed.first == (expected[0] if expected else None)
    assert followed.stays == (stays if leaders[-1] == 2 else None)


def test_tokens_that_are_followed() -> None:
    session = tiny_session()
    do(session, "goto logits@1")
    table = lens_of(session, '"a" 98')
    logits = session.run.event.trail[0][1][0]
    assert [each.id for each in table.rows[0].followed] == [97, 98]
    for each in table.rows[-1].followed:
        assert each.rank == int((logits > logits[each.id]).sum()) + 1
        assert each.logit == float(logits[each.id])
    with pytest.raises(CommandError):
        lens_of(session, "4711")


def test_what_sampling_does_is_no_part_of_it() -> None:
    session = tiny_session(temperature=0.5, top_k=3)
    do(session, "goto sample@1")
    raw = session.run.event.trail[0][1][0]
    table = lens_of(session)
    assert [each.logit for each in table.rows[-1].top] == raw.topk(len(table.rows[-1].top)).values.tolist()
    assert "temperature" in table.notes[0]


def test_asking_leaves_the_run_as_it_was() -> None:
    asking, quiet = tiny_session(), tiny_session()
    for line in ("goto 0.mlp", "goto 1@1", "goto logits@2"):
        do(asking, line)
        lens_of(asking)
        TOPICS["attribution"].ask(asking.inspector, "")
    for session in (asking, quiet):
        do(session, "continue")
    assert asking.run.generated_ids() == quiet.run.generated_ids()
    assert asking.debuggee.timeline.fingerprints() == quiet.debuggee.timeline.fingerprints()
    assert do(asking, "verify").data.differs is None


def test_an_edit_changes_it() -> None:
    session = tiny_session()
    do(session, "goto logits@1")
    before = lens_of(session)
    do(session, "zero 0.mlp")
    assert lens_of(session).rows[-2] != before.rows[-2]


def test_a_model_that_does_more_behind_its_layers_has_none() -> None:
    session = tiny_session("modernbert_decoder")
    do(session, "goto 0")
    with pytest.raises(LensError, match="no lens") as refused:
        lens_of(session)
    assert "\n" not in str(refused.value)


def test_left_padding_is_hidden_from_it() -> None:
    for padding in (0, 6):
        session = opened("smollm2", "The capital of France is", greedy=True, max_new_tokens=2, left_pad=padding)
        do(session, "goto logits")
        table = lens_of(session)
        assert table.position == len(session.debuggee.prompt.ids) - 1
        assert table.prediction is not None
        assert table.prediction.text == " Paris"
        check_row = next(row for row in table.rows if row.address == "29")
        assert check_row.top[0].text == " Paris"


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantised_weights_have_a_lens_and_an_attribution(quantize: str) -> None:
    session = opened(
        "smollm2", "The capital of France is", greedy=True, max_new_tokens=2, quantize=quantize, device="cpu"
    )
    do(session, "goto logits")
    table = lens_of(session)
    assert table.rows[-1].top[0].text == " Paris"
    added = TOPICS["attribution"].ask(session.inspector, "")
    assert added.sum == pytest.approx(added.logit, abs=1e-3 * abs(added.logit))


def test_the_demo_model_against_its_own_modules() -> None:
    session = opened("smollm2", "The capital of France is", greedy=True, max_new_tokens=3)
    do(session, "goto logits")
    table = lens_of(session)
    assert len(table.rows) == 32
    check(session, table, table.position, TOLERANCE[torch.float32])
