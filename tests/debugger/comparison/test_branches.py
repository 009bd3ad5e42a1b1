"""Branches of a session as sides of a comparison: their edits, forced tokens and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmdbg.debugger.commands import Answer
from llmdbg.debugger.comparison.branches import branch_side
from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.comparing_recorded import compare_with_recording
from llmdbg.debugger.comparison.outcome import Comparison, FindingKind, Verdict
from llmdbg.debugger.debugger import Debugger
from llmdbg.errors import CommandError
from tests.debugger.comparison.recordings import recorded
from tests.sessions import do, here, tiny_session


def _edited(*edits: str, at: str = "goto sample@1") -> Debugger:
    """A session whose branch `main` is left as it is, and the current one has edits from token 1 on."""
    session = tiny_session(max_new_tokens=4, greedy=True)
    do(session, "continue", at, "branch other", *edits)
    return session


def _difference(session: Debugger, line: str = "diff main") -> Comparison:
    place = here(session)
    outcome = do(session, line)
    assert here(session) == place
    assert isinstance(outcome, Answer)
    assert isinstance(outcome.data, Comparison)
    return outcome.data


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("zero 1.mlp", "1.mlp"),
        ("scale 0.mlp.down_proj 1.5", "0.mlp.down_proj"),
        ("scale 1 1.001", "1"),
        ("ablate 1.self_attn heads=1", "1.self_attn.o_proj"),
        ("zero 0.input_layernorm at last", "0.input_layernorm"),
        ("scale logits 2", "logits"),
    ],
)
def test_the_edited_stage_is_named_and_nothing_else(line: str, address: str) -> None:
    """With the edit in words; what comes after it is not blamed."""
    found = _difference(_edited(line))
    assert [(each.address, each.kind) for each in found.findings] == [(address, FindingKind.EDIT)]
    assert f"is edited by `{line}` from token 1 on" in found.sentence
    assert found.candidate.name.endswith(", branch other")


def test_the_users_own_python_is_run() -> None:
    """In an open session it is their own."""
    found = _difference(_edited("goto 1.mlp@1", "edit out * 2"))
    assert found.first is not None
    assert (found.first.address, found.first.kind) == ("1.mlp", FindingKind.EDIT)


def test_edits_of_the_reference_are_its_own() -> None:
    """The other way round, the stage is the same one."""
    session = _edited("zero 1.mlp")
    do(session, "switch main")
    found = _difference(session, "diff other")
    assert [each.address for each in found.findings] == ["1.mlp"]
    assert "in the reference is edited by `zero 1.mlp` from token 1 on" in found.sentence


def test_the_same_edits_are_no_difference() -> None:
    """Two branches with one edit, which differ by a forced token alone."""
    session = _edited("zero 1.mlp", at="goto embed@0")
    do(session, "goto sample@1", "force 7")
    found = _difference(session, "diff other")
    assert [each.kind for each in found.findings] == [FindingKind.SETTINGS]
    assert "the candidate is forced to choose" in found.sentence
    assert "at token 1" in found.sentence
    assert all(each.isolated == 0 or each.isolated is None for each in found.stages if each.address == "1.mlp")


def test_settings_are_named_from_the_token_on_where_they_change() -> None:
    """What was set in the middle of a branch."""
    found = _difference(_edited("set repetition_penalty 1.5"))
    assert "from token 1 on repetition_penalty is 1.5 instead of not set" in found.sentence


def test_a_branch_that_changes_nothing_is_the_same() -> None:
    """And this branch has nothing to be held against."""
    session = _edited()
    assert _difference(session).verdict is Verdict.SAME
    assert do(session, "diff other").data == "this is the current branch: `branch` lists the others"
    with pytest.raises(CommandError, match="there is no branch 'nowhere'"):
        do(session, "diff nowhere")
    with pytest.raises(CommandError, match="a number of tokens"):
        do(session, "diff main 0")


def test_so_many_tokens_as_asked_for() -> None:
    """Else as many as the longer branch has."""
    session = _edited("zero 1.mlp")
    assert len(_difference(session).reference.ids) == 4
    assert len(_difference(session, "diff main 2").reference.ids) == 2


def test_the_texts_are_those_of_the_branches() -> None:
    """A free run of a side is what the session generated."""
    session = _edited("zero 1.mlp", "continue")
    ids = session.run.generated_ids()
    found = _difference(session)
    assert found.candidate.ids == ids
    assert found.reference.ids == tuple(session.run.branches.find("main").timeline.ids)


@pytest.mark.parametrize("tensors", ["none", "inputs"])
@pytest.mark.parametrize("live_is_reference", [True, False])
def test_a_branch_is_held_against_a_recording(tmp_path: Path, tensors: str, live_is_reference: bool) -> None:
    """Of the plain run: the edited stage is the first that differs."""
    session = _edited("zero 1.mlp")
    plain, other = (branch_side(session.debuggee, session.run.branches.find(each), 4) for each in ("main", "other"))
    trace = recorded(plain, tmp_path / "run", tensors)
    found = compare_with_recording(trace, other, lambda _: None, {}, live_is_reference=live_is_reference)
    assert found.first is not None
    assert found.first.address == "1.mlp"
    assert tensors == "none" or found.first.kind is FindingKind.EDIT


def test_bisection_finds_the_edit() -> None:
    """As it finds any stage that changes the answer."""
    session = _edited("zero 0.mlp")
    plain, other = (branch_side(session.debuggee, session.run.branches.find(each), 4) for each in ("main", "other"))
    found = compare(plain, other, bisects=True).bisection
    assert found is not None
    assert found.stages == ("0.mlp",)
