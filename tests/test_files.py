"""Reading within bounds, and files that only their owner can read."""

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmdbg.debugger.persistence.store import SessionStore, sessions_folder
from llmdbg.errors import CommandError, SessionFileError, SessionRequestError
from llmdbg.files import private_folder, private_replacement, read_regular, state_folder, write_private
from llmdbg.frontends.export import export
from llmdbg.frontends.log import LogFile, log_path, record
from llmdbg.frontends.tui import clipboard_export
from llmdbg.frontends.tui.input.history import History, history_path
from llmdbg.frontends.tui.state.screen_state import ScreenState
from tests.debugger.saving import gone
from tests.debugger.saving import started as saved_session
from tests.sessions import do, tiny_session


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(autouse=True)
def _usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_regular_file_is_read_up_to_a_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 B"):
        read_regular(path, 4)


def test_what_would_never_end_is_not_read(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    (link := tmp_path / "link").symlink_to("/dev/zero")
    for path in (pipe, link):
        with pytest.raises(OSError, match="a pipe or a device"):
            read_regular(path, 10)
    with pytest.raises(OSError, match="a folder"):
        read_regular(tmp_path, 10)
    with pytest.raises(OSError, match="symbolic links"):
        read_regular(link, 10, follow=False)


def test_a_private_file_replaces_what_is_there(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), mode(path), list(tmp_path.iterdir())) == (b"new", 0o600, [path])


def test_a_link_is_not_followed_and_nothing_is_left_behind(tmp_path):
    (victim := tmp_path / "victim").write_text("mine")
    (path := tmp_path / "a.txt").symlink_to(victim)
    with pytest.raises(OSError, match="it is a link"):
        write_private(path, b"x")
    with pytest.raises(CommandError, match=r"cannot write .*a\.txt: it is a link"):
        export("a sentence", path)
    assert victim.read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path):
    (path := tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), private_replacement(path) as new:
        assert mode(new) == 0o600
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_wide_folder_of_ours_is_narrowed(tmp_path):
    state_folder().mkdir(parents=True)
    (inner := state_folder() / "inner").mkdir()
    state_folder().parent.chmod(0o755)
    private_folder(inner)
    assert mode(inner) == mode(state_folder()) == 0o700
    assert mode(state_folder().parent) == 0o755


class FakeApp:
    """What the copy of a pane asks of the screen."""

    def copy_to_clipboard(self, text):
        self.copied = text

    def export_screenshot(self, title):
        return f"<svg>{title}</svg>"


class FakePane:
    id, text, rows = "tokens", "a secret prompt", ("a secret prompt",)


APP: Any = FakeApp()
PANE: Any = FakePane()


def test_everything_that_holds_a_prompt_is_for_its_owner_alone(monkeypatch):
    monkeypatch.setattr(clipboard_export, "screen_text", lambda _app: "a secret prompt")
    clipboard_export.copied(APP, PANE, ScreenState("tiny"))
    clipboard_export.saved_screen(APP)
    History(history_path()).add("break 1")
    record(ValueError("a secret prompt"))
    store = SessionStore()
    store.save(saved_session())
    for path in (log_path().parent, *state_folder().rglob("*"), state_folder(), log_path()):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    assert len(list(clipboard_export.kept_folder().iterdir())) == 3


def test_exports_and_saved_tensors_are_for_their_owner_alone(tmp_path):
    session = tiny_session()
    session.exporter = export
    do(session, "goto logits")
    for line in (
        "info tokens > FOLDER/a.txt",
        "info tokens > FOLDER/a.csv",
        "info tokens > FOLDER/a.json",
        "info lens > FOLDER/a.svg",
        "save tensor 1 FOLDER/a.safetensors",
    ):
        do(session, line.replace("FOLDER", str(tmp_path)))
    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 5


def test_a_saved_tensor_does_not_follow_a_link(tmp_path):
    session = tiny_session()
    do(session, "goto 1")
    (victim := tmp_path / "victim").write_text("mine")
    (link := tmp_path / "a.safetensors").symlink_to(victim)
    with pytest.raises(CommandError, match="it is a link"):
        do(session, f"save tensor 1 {link}")
    assert victim.read_text() == "mine"


def test_a_copy_does_not_follow_a_link(tmp_path):
    (victim := tmp_path / "victim").write_text("mine")
    private_folder(clipboard_export.kept_folder())
    (clipboard_export.kept_folder() / "copied.txt").symlink_to(victim)
    assert "could not be written to a file (it is a link" in clipboard_export.copied(APP, PANE, ScreenState("tiny"))
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["session.json", "prompt.txt"])
def test_a_saved_session_follows_no_link(tmp_path, name):
    store = SessionStore()
    saved = saved_session()
    store.save(saved)
    (victim := tmp_path / "victim").write_text("mine")
    path = sessions_folder() / saved.id / name
    path.unlink(missing_ok=True)
    path.symlink_to(victim)
    with pytest.raises(SessionFileError, match=r"it is a link|symbolic links"):
        store.load(saved.id)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("made", [Path.symlink_to, Path.hardlink_to])
def test_no_link_can_lie_in_wait_for_what_a_session_saves(tmp_path, made):
    store, saved, victims = SessionStore(), saved_session(), []
    store.save(saved)
    folder = sessions_folder() / saved.id
    for name in ("session.json.new", "prompt.txt.new", ".session.json.new"):
        victims.append(tmp_path / f"victim of {name}")
        victims[-1].write_text("mine")
        made(folder / name, victims[-1])
    store.save(saved)
    assert store.load(saved.id) == saved
    assert {each.read_text() for each in victims} == {"mine"}


def test_a_session_that_a_hard_link_shares_is_replaced_and_not_written_into(tmp_path):
    store, saved = SessionStore(), saved_session()
    store.save(saved)
    path = sessions_folder() / saved.id / "session.json"
    (victim := tmp_path / "victim").write_text("mine")
    path.unlink()
    path.hardlink_to(victim)
    store.save(saved)
    assert victim.read_text() == "mine"
    assert store.load(saved.id) == saved


def test_what_a_kill_in_the_middle_of_a_save_left_is_removed_when_the_session_goes_on():
    store, saved = SessionStore(), replace(saved_session(), owner=gone())
    store.save(saved)
    folder = sessions_folder() / saved.id
    (left := folder / ".llmdbg-abc.new").write_text("half a sess")
    SessionStore().resume(saved.id)
    assert not left.exists()
    assert sorted(each.name for each in folder.iterdir()) == ["prompt.txt", "session.json"]


def test_a_folder_that_is_a_link_is_no_session(tmp_path):
    store = SessionStore()
    saved = saved_session()
    store.save(saved)
    folder = sessions_folder() / saved.id
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SessionRequestError, match="no saved session"):
        store.load(saved.id)
    assert store.survey().closed == store.survey().running == ()


@pytest.mark.parametrize("make", [lambda path, victim: path.symlink_to(victim), lambda path, _victim: os.mkfifo(path)])
def test_the_log_follows_no_link_and_waits_for_no_pipe(tmp_path, make):
    (victim := tmp_path / "victim").write_text("mine")
    make(tmp_path / "log", victim)
    file = LogFile(tmp_path / "log")
    import logging

    file.handle(logging.makeLogRecord({"msg": "x"}))
    file.close()
    assert victim.read_text() == "mine"
