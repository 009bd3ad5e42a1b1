"""`llmdbg diff` and `llmdbg.compare` with branches of sessions, saved and open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import llmdbg
from llmdbg.cli import main
from llmdbg.debugger.comparison.outcome import Verdict
from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.model import begin
from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.script.session import Session
from llmdbg.models.spec import ModelSpec

LINES = ("continue", "goto sample@1", "branch other", "scale 1.mlp 1.5", "continue")


@pytest.fixture
def session(tiny_folder: Path) -> Session:
    """An open session with a branch `main`, and a branch `other` in which a stage is edited from token 1 on."""
    opened = llmdbg.open_session(tiny_folder, "Hello", max_new_tokens=3, greedy=True)
    opened.run_script(LINES)
    return opened


@pytest.fixture
def saved(tiny_folder: Path, session: Session) -> str:
    """The same session, saved and left. Its id."""
    settings = GenerationSettings(max_new_tokens=3, greedy=True)
    found = capture(session.debugger, begin(ModelSpec(str(tiny_folder)), "Hello", settings))
    store = SessionStore()
    store.save(found)
    store.close(found.id)
    session.close()
    return found.id


def test_two_branches_of_a_saved_session(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Which session is said once, for both; the edited stage is named, and nothing is run but what is compared."""
    assert main(["diff", "--branch main", "--branch other", "--session", saved, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(each["address"], each["kind"]) for each in found["findings"]] == [("1.mlp", "edit")]
    assert "is edited by `scale 1.mlp 1.5` from token 1 on" in found["sentence"]
    assert len(found["reference"]["ids"]) == 3
    assert found["candidate"]["name"].endswith(", branch other")


def test_a_model_beside_a_branch_reads_and_chooses_as_the_session(
    saved: str, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No prompt and no settings are needed; the branch may run in another dtype."""
    arguments = ["diff", str(tiny_folder), "--session last --branch other --dtype bfloat16", "--json"]
    assert main(arguments) == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["address"] for each in found["findings"]] == ["1.mlp"]
    assert found["candidate"]["place"] == "cpu bfloat16"
    assert main(["diff", str(tiny_folder), f"{tiny_folder} --session {saved} --branch 1"]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["one", "two --branch other"], "add --session ID"),
        (["one", "--session last"], "there is no saved session"),
        (["one", "--session nothing-here"], "there is no saved session nothing-here"),
        (["one", "--session ../x"], "is not a session id"),
        (["one --greedy", "two"], "there is no prompt"),
    ],
)
def test_what_is_no_session_is_said(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a line, before anything is loaded."""
    assert main(["diff", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_what_the_session_says_is_not_said_again(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Prompt and settings are the session's, and its branches are listed."""
    assert main(["diff", "one", f"--session {saved} --greedy -p Hi"]) == 2
    assert "leave out --prompt and --greedy" in capsys.readouterr().err
    assert main(["diff", "one", f"--session {saved} --branch b7"]) == 2
    assert "has no branch 'b7' (it has main and other)" in capsys.readouterr().err
    assert main(["diff", "--branch main", "--branch other", "--session", saved, "--screen"]) == 2


def test_python_of_a_saved_session_is_left_out_and_said_to_be(
    tiny_folder: Path, session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file may come from anywhere."""
    session.run_script(["goto 0.mlp@1", "edit out * 2"])
    found = capture(session.debugger, begin(ModelSpec(str(tiny_folder)), "Hello", GenerationSettings(greedy=True)))
    SessionStore().save(found)
    assert main(["diff", "--branch main", f"--branch {found.branch}", "--session", found.id]) == 1
    out = capsys.readouterr().out
    assert "is compared without `edit out * 2` from token 1 on: a saved session does not make it again" in out
    assert "first differs at 1.mlp" in out


def test_branches_of_an_open_session_from_python(session: Session, tiny_folder: Path) -> None:
    """The session stands where it stood, with its branches and edits."""
    stop, end = session.stop, session.end
    found = llmdbg.compare((session, "main"), session)
    assert found.first is not None
    assert (found.first.address, len(found.reference.ids)) == ("1.mlp", 3)
    assert (session.stop.stage, session.stop.token, session.end) == (stop.stage, stop.token, end)
    assert llmdbg.compare(tiny_folder, (session, "main")).verdict is Verdict.SAME
    assert session.do("diff main").data.first.address == "1.mlp"


@pytest.mark.parametrize(
    ("branch", "named", "says"),
    [("b9", {}, "there is no branch 'b9'"), (3, {}, "text or None"), ("main", {"greedy": True}, "leave out greedy")],
)
def test_what_an_open_session_cannot_be_asked(
    session: Session, branch: object, named: dict[str, bool], says: str
) -> None:
    """One line each."""
    with pytest.raises(llmdbg.LlmdbgError, match=says):
        llmdbg.compare((session, branch), session, **named)  # type: ignore[arg-type]


def test_a_closed_session_is_refused(session: Session) -> None:
    """As by everything else."""
    session.close()
    with pytest.raises(llmdbg.LlmdbgError, match="this session is closed"):
        llmdbg.compare(session, session)
