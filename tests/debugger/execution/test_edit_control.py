"""Edits in a session: made, listed, switched, undone, and repeated when the past is run again."""

import pytest
import torch

from llmdbg.errors import AddressError, CommandError, EditError
from llmdbg.frontends.answers import answer_lines
from tests.engine.runs import hooks_on
from tests.sessions import answered, do, here, tiny_session


def started(name="llama", text="The quick fox", **settings):
    return tiny_session(name, text, **{"max_new_tokens": 10, **settings})


def with_hook(name, address, change, since, **settings):
    """The ids that an ordinary hook of PyTorch gives, which changes an output from a token on."""
    session = started(name, **settings)
    module, forwards = session.debuggee.anatomy.modules[address], [0]

    def hook(_module, _args, output):
        forwards[0] += 1
        first = output[0] if isinstance(output, tuple) else output
        if forwards[0] - 1 < since:
            return None
        return (change(first), *output[1:]) if isinstance(output, tuple) else change(first)

    handle = module.register_forward_hook(hook)
    try:
        do(session, "continue")
    finally:
        handle.remove()
    session.close()
    return session.end.ids


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2", "gemma3", "mamba"])
@pytest.mark.parametrize("since", [0, 1, 4])
def test_an_edit_is_what_a_hook_does_and_is_repeated_on_replay(name, since):
    session = started(name)
    do(session, f"until 0@{since}")
    do(session, "scale 0 -2")
    assert here(session) == f"0@{since}"
    do(session, "continue")
    wanted = with_hook(name, "0", lambda tensor: tensor * -2.0, since)
    assert session.end.ids == wanted
    for line in (f"goto 1@{since}", "goto sample@7", "rs 9", "goto tokenize", "goto 0@5"):
        do(session, line)
    do(session, "continue")
    assert session.end.ids == wanted
    assert session.debuggee.timeline.differing() == ()
    session.close()
    assert hooks_on(session.inspector.model) == 0


def test_an_edit_in_the_past_leaves_the_old_future_to_its_branch():
    session = started()
    do(session, "continue")
    plain = session.end.ids
    do(session, "goto 1.mlp@4")
    do(session, "zero 1.mlp")
    assert [each.name for each in session.run.branches] == ["main", "b2"]
    do(session, "continue")
    assert session.end.ids == with_hook("llama", "1.mlp", torch.zeros_like, 4)
    do(session, "switch main")
    do(session, "continue")
    assert session.end.ids == plain
    assert do(session, "edits").data == ()


def test_an_edit_at_the_newest_token_needs_no_branch():
    session = started()
    do(session, "until 1@2")
    do(session, "zero 1.mlp")
    assert [each.name for each in session.run.branches] == ["main"]
    assert here(session) == "1@2"


def test_off_on_and_undo():
    session = started()
    do(session, "continue")
    plain = session.end.ids
    do(session, "goto 0@3")
    do(session, "scale 0 -2")
    do(session, "continue")
    edited = session.end.ids
    do(session, "edits off 1")
    assert here(session) == "0@3"
    do(session, "continue")
    assert session.end.ids == plain
    do(session, "edits on")
    do(session, "continue")
    assert session.end.ids == edited
    do(session, "undo")
    assert (here(session), do(session, "edits").data) == ("0@3", ())
    do(session, "continue")
    assert session.end.ids == plain


def test_only_at_one_token():
    session = started()
    do(session, "until 0@2")
    do(session, "zero 1.mlp@4")
    do(session, "goto 1.mlp@3")
    assert session.stop.tensor.numbers.norm > 0
    do(session, "goto 1.mlp@4")
    assert session.stop.tensor.numbers.norm == 0
    do(session, "goto 1.mlp@5")
    assert session.stop.tensor.numbers.norm > 0


def test_the_users_own_python():
    session = started()
    do(session, "until 0@3")
    before = session.stop.tensor.numbers
    do(session, "edit out * 2")
    assert session.stop.tensor.numbers.max == before.max * 2
    do(session, "edit out[0, -1, 5] = 77.0")
    assert session.stop.tensor.numbers.max == 77.0
    assert [each.text for each in do(session, "edits").data] == ["edit out * 2", "edit out[0, -1, 5] = 77.0"]


def test_logits_can_be_edited():
    session = started()
    do(session, "until logits@3")
    do(session, "edit out[0, 99] = 1e4")
    do(session, "token")
    assert session.stop.chosen.id == 99


def test_a_value_from_another_branch():
    session = started()
    do(session, "until 0@3")
    do(session, "scale 0 3")
    scaled = (
        session.run.event.output.clone()
        if torch.is_tensor(session.run.event.output)
        else session.run.event.output[0].clone()
    )
    do(session, "continue")
    do(session, "goto 0@3")
    do(session, "edits off 1")
    do(session, "patch 0 from main")
    now = session.run.event.output if torch.is_tensor(session.run.event.output) else session.run.event.output[0]
    assert torch.equal(now, scaled)
    assert here(session) == "0@3"


def test_an_edit_of_a_stage_that_never_runs_is_said_to_change_nothing():
    session = tiny_session("falcon")
    do(session, "goto logits")
    do(session, "zero *.self_attention.attention_dropout")
    do(session, "zero 0.self_attention.attention_dropout")
    do(session, "zero 0.mlp")
    note = do(session, "info effect").data.note
    assert "edit 1 changed nothing: none of its stages ran for this token" in note
    assert "edit 2 changed nothing: 0.self_attention.attention_dropout did not run for this token" in note
    assert "edit 3" not in note


def test_an_edit_that_begins_later_has_no_effect_here():
    session = tiny_session()
    do(session, "token 2")
    do(session, "zero 0.mlp")
    do(session, "goto logits@0")
    assert "no edit applies to this token" in do(session, "info effect").data


def test_the_effect_of_an_edit_layer_by_layer():
    session = started()
    assert "no edit applies" in do(session, "info effect").data
    do(session, "until logits@3")
    old = session.stop.candidates.rows[0]
    do(session, "scale 0 -3")
    effect = do(session, "info effect").data
    assert [row.address for row in effect.rows] == ["0", "1", "norm", "logits"]
    assert effect.rows[-1].before[0].id == old.id
    assert effect.rows[-1].before[0].prob == pytest.approx(old.prob, rel=1e-4)
    assert effect.rows[-1].after[0].prob == pytest.approx(session.stop.candidates.rows[0].prob, rel=1e-4)
    assert here(session) == "logits@3"
    assert session.run.edits.list()[0].enabled
    assert session.debuggee.timeline.differing() == ()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("zero 9.mlp", AddressError),
        ("zero", CommandError),
        ("scale 0 much", EditError),
        ("ablate 0.mlp heads=1", EditError),
        ("ablate 0 heads=99", EditError),
        ("edit out[0]", EditError),
        ("edit out.to(torch.bfloat16)", EditError),
        ("edit nonsense(", EditError),
        ("edit 1 / 0", EditError),
        ("patch 0 from nowhere", CommandError),
        ("patch 0 from main", CommandError),
        ("zero sample", EditError),
        ("undo", CommandError),
        ("edits off 3", CommandError),
    ],
)
def test_what_cannot_be_changes_nothing(line, error):
    session = started()
    do(session, "until 0@3")
    tensor = session.run.event.output
    tensor = tensor.clone() if torch.is_tensor(tensor) else tensor[0].clone()
    with pytest.raises(error):
        do(session, line)
    assert (here(session), session.run.edits.list(), len(list(session.run.branches))) == ("0@3", (), 1)
    now = session.run.event.output
    assert torch.equal(now if torch.is_tensor(now) else now[0], tensor)
    do(session, "continue")


def test_an_edit_that_fails_later_can_be_undone():
    session = started()
    do(session, "until 0@3")
    do(session, "edit out if out.shape[1] < 99 else None")
    do(session, "edit out[:, -1] = inputs[0][:, -1] if isinstance(inputs, tuple) else 0")
    do(session, "undo")
    do(session, "undo")
    do(session, "continue")
    assert session.end.ids == with_hook("llama", "0", lambda tensor: tensor, 0)


def test_a_token_is_counted_once_after_a_failure():
    session = started()
    do(session, "step 3")
    do(session, "edit out[:, 5] *= 2")
    do(session, "token")
    ids = session.run.generated_ids()
    with pytest.raises(EditError):
        do(session, "token")
    assert session.run.generated_ids() == ids


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("zero 0.mlp at last", "32 of 416 values of 0.mlp changed"),
        ("zero 0-1.mlp", "416 of 416 values of 0.mlp changed; 1 stage still to come"),
        ("scale 0.mlp 1", "none of the 416 values of 0.mlp is another than before"),
        ("zero 1.mlp", "nothing is changed yet, the stage is still to come"),
        ("ablate 0 heads=1", " of 416 values of 0.self_attn.o_proj changed"),
        ("edit out[0, 0, :3] = float('nan')", "3 of 416 values of 0 changed"),
    ],
)
def test_an_edit_says_how_many_values_it_changed(line, said):
    session = started()
    do(session, "goto 0")
    moved = do(session, line)
    assert moved.done.startswith(f"edit 1 {line}: ") and moved.done.endswith(said)
    assert answer_lines(moved)[-1] == moved.done
    assert session.run.edits.tally is None
    before = session.run.edits.list()
    do(session, "next")
    assert session.run.edits.list() == before


def test_a_patch_says_how_many_values_the_other_branch_had():
    session = started()
    do(session, "token", f"force {(session.stop.chosen or do(session, 'token').stop.chosen).id}")
    do(session, "goto 1@0", "scale 0 2")
    assert do(session, "patch 0 from main").done.endswith("416 of 416 values of 0 changed")


def test_any_edit_can_be_undone_by_its_number():
    session = started()
    do(session, "until 1@2", "zero 0.mlp", "scale 1 2")
    both = session.stop.tensor
    with pytest.raises(CommandError, match=r"there is no edit 3 \(there are: 1, 2\)"):
        do(session, "undo 3")
    do(session, "undo 1")
    assert [each.number for each in session.run.edits.list()] == [2]
    assert here(session) == "1@2"
    alone = started()
    do(alone, "until 1@2", "scale 1 2")
    assert session.stop.tensor == alone.stop.tensor != both
    do(session, "continue")
    do(alone, "continue")
    assert session.end.ids == alone.end.ids


def test_an_edit_is_listed_with_what_it_last_changed():
    session = started()
    do(session, "until 1@2", "zero 0.mlp", "scale 1 2")
    first, second = answered("edits", session)
    assert (first.number, first.text, first.does, first.when) == (1, "zero 0.mlp", "zero", "from token 2 on")
    assert (first.counted_at, first.stages, first.enabled) == (2, 1, True)
    width = session.inspector.model.config.hidden_size
    assert [(each.address, each.changed, each.size) for each in first.changed] == [("0.mlp", width, width)]
    do(session, "edits off 1")
    first, second = answered("edits", session)
    assert (first.enabled, first.changed, second.enabled, second.changed[0].changed) == (False, (), True, width)
    do(session, "edits on 1")
    assert answered("edits", session)[0].changed[0].changed == width
