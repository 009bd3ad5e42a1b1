"""The lines of the prompt: walked through, kept for the next session, shared with others, and damaged."""

import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.frontends.tui.input import history
from llmdbg.frontends.tui.input.history import MOST_LINES, History, history_path


@pytest.fixture(autouse=True)
def _own_log(tmp_path, monkeypatch):
    monkeypatch.setattr("llmdbg.frontends.log.log_path", lambda: tmp_path / "log" / "llmdbg.log")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "history.jsonl"


def filled(path, *lines):
    made = History(path)
    for line in lines:
        made.add(line)
    return made


def test_up_and_down_and_back_to_what_was_typed(path):
    lines = filled(path, "step", "break 1", "continue")

    assert [lines.older(""), lines.older("continue"), lines.older("break 1")] == ["continue", "break 1", "step"]
    assert lines.older("step") is None
    assert [lines.newer(), lines.newer(), lines.newer(), lines.newer()] == ["break 1", "continue", "", None]


def test_what_was_typed_chooses_the_lines(path):
    lines = filled(path, "break 1", "step", "break 2", "break 2.mlp", "bt")

    assert [lines.older("break"), lines.older("break 2.mlp"), lines.older("break 2")] == [
        "break 2.mlp",
        "break 2",
        "break 1",
    ]
    assert lines.older("break 1") is None
    assert [lines.newer(), lines.newer(), lines.newer()] == ["break 2", "break 2.mlp", "break"]
    assert lines.older("xyz") is None


def test_a_changed_line_is_a_new_beginning(path):
    lines = filled(path, "break 1", "step", "break 2")

    assert lines.older("") == "break 2"
    assert lines.older("s") == "step"
    assert lines.newer() == "s"


def test_the_line_that_is_there_already_is_passed_over(path):
    lines = filled(path, "step", "next", "step")
    assert lines.older("step") is None
    assert lines.older("") == "step"


def test_adding_ends_the_walk(path):
    lines = filled(path, "step", "next")
    lines.older("")
    lines.add("continue")
    assert lines.newer() is None
    assert lines.older("") == "continue"


def test_lines_are_kept_without_repetitions_in_a_row(path):
    filled(path, "step", "step", "  step  ", "", "next", "step")
    filled(path, "step", "next")

    assert History(path).lines == ("step", "next", "step", "next")
    assert path.read_text() == '"step"\n"next"\n"step"\n"next"\n'


def test_nobody_else_may_read_it(path):
    filled(path, "step")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    path.chmod(0o644)
    filled(path, "next")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_entry_is_one_line_and_safe_to_look_at(path):
    hostile = [
        "a\nb",
        "\x1b[2J",
        "\u202e\u200b",
        "\ud800",
        "a\\nb",
        "\\x1b",
        "日本語",
        "tab\there",
        "a\u2028b",
        "\U000e0001x",
        "a\x7fb",
    ]
    filled(path, *hostile)

    assert History(path).lines == tuple(hostile)
    written = path.read_bytes().decode()
    assert written.count("\n") == len(hostile)
    assert all(unicodedata.category(each)[0] != "C" for each in written.replace("\n", ""))


@given(st.text(alphabet=st.characters(codec=None)))
def test_a_line_comes_back_as_it_was(line):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        kept = filled(path, line).lines
        assert History(path).lines == kept == ((line.strip(),) if line.strip() else ())
        assert not kept or path.read_bytes().count(b"\n") == 1


@given(st.binary())
def test_whatever_the_file_is_it_is_no_trouble(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        path.write_bytes(data)
        filled(path, "step")
        assert History(path).lines[-1:] == ("step",)


def test_a_file_that_grew_long_is_cut_to_its_newest_lines(path):
    path.parent.mkdir()
    path.write_text("".join(f'"focus {n}"\n' for n in range(3000)))

    assert History(path).lines == tuple(f"focus {n}" for n in range(1000, 3000))
    assert path.read_text().count("\n") == MOST_LINES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {each.name for each in path.parent.iterdir()} == {"history.jsonl", "history.jsonl.lock"}


def test_a_long_session_keeps_its_newest_lines(path, monkeypatch):
    monkeypatch.setattr(history, "MOST_LINES", 5)
    assert filled(path, *map(str, range(9))).lines == ("4", "5", "6", "7", "8")


def test_a_huge_file_is_read_from_its_end(path, monkeypatch):
    monkeypatch.setattr(history, "MOST_BYTES", 100)
    path.parent.mkdir()
    path.write_text('"' + "x" * 5000 + '"\n"step"\n"next"\n')

    assert History(path).lines == ("step", "next")
    assert path.read_text() == '"step"\n"next"\n'


def test_a_line_too_long_to_be_typed_is_not_kept(path):
    lines = filled(path, "x" * 100_000, "step")
    assert lines.lines == ("step",)


def test_a_link_to_a_file_elsewhere_stays_one(path, tmp_path):
    elsewhere = tmp_path / "dotfiles"
    elsewhere.write_text('"step"\n' * 3000)
    path.parent.mkdir()
    path.symlink_to(elsewhere)

    filled(path, "next")
    assert path.is_symlink()
    assert elsewhere.read_text() == '"step"\n"next"\n'


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (b'"step"\n\xff\xfe\x00\n"next"\n', ("step", "next")),
        (b"\x00" * 4096, ()),
        (b'"step"\n"nex', ("step",)),
        (b'"step"\n"next"', ("step", "next")),
        (b'"\x1b]0;pwned\x07"\n"step"\n', ("step",)),
        (b'\n\n\n"step"\n\n', ("step",)),
        (b'"bad\\escape \\xzz"\n"step"\n', ("step",)),
        (b'["step"]\n{}\n12\nnull\n""\nstep\n"next"\n', ("next",)),
        (b"[" * 100_000 + b'\n"step"\n', ("step",)),
        (b'"' + b"x" * 5000 + b'"\n"step"\n', ("step",)),
    ],
)
def test_what_is_damaged_is_left_out(path, damage, left):
    path.parent.mkdir()
    path.write_bytes(damage)

    assert History(path).lines == left
    filled(path, "info model")
    assert History(path).lines == (*left, "info model")


def make_folder(path):
    path.mkdir(parents=True)


def make_pipe(path):
    path.parent.mkdir()
    os.mkfifo(path)


def make_link_to_a_device(path):
    path.parent.mkdir()
    path.symlink_to("/dev/zero")


def make_file_in_the_way(path):
    path.parent.write_text("")


@pytest.mark.parametrize("make", [make_folder, make_pipe, make_link_to_a_device, make_file_in_the_way])
def test_a_file_that_cannot_be_is_no_reason_to_fail(path, make, tmp_path):
    make(path)

    lines = filled(path, "step", "next")
    assert lines.older("") == "next"
    assert (tmp_path / "log" / "llmdbg.log").read_text().count("Traceback") == 1


def test_a_session_that_stands_still_with_the_lock_keeps_nobody_waiting(path):
    filled(path, "step")
    with path.with_name("history.jsonl.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert filled(path, "next").lines == ("step", "next")
    assert History(path).lines == ("step", "next")


_SESSION = """
import sys
from pathlib import Path
from llmdbg.frontends.tui.input.history import History
name, path = sys.argv[1], Path(sys.argv[2])
lines = History(path)
for n in range(900):
    lines.add(f"{name} {n}")
    if n % 60 == 0:
        lines = History(path)
"""


def test_several_sessions_lose_nothing_of_each_other(path):
    names = ["a", "b", "c"]
    running = [subprocess.Popen([sys.executable, "-c", _SESSION, name, str(path)]) for name in names]
    assert [each.wait(timeout=60) for each in running] == [0, 0, 0]

    written = [json.loads(each) for each in path.read_text().splitlines()]
    assert MOST_LINES <= len(written) < 2700, "the file was cut while others wrote"
    for name in names:
        own = [int(line.split()[1]) for line in written if line.startswith(f"{name} ")]
        assert own == list(range(900 - len(own), 900))
    assert len(History(path).lines) == MOST_LINES


def test_it_is_kept_with_the_state_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_path().parts[-2:] == ("llmdbg", "history.jsonl")
    if sys.platform == "linux":
        assert history_path() == tmp_path / "llmdbg" / "history.jsonl"
