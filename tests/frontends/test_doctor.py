"""`llmdbg doctor`, in a process of its own where it matters what is imported."""

import json
import os
import subprocess
import sys

import pytest

from llmdbg.errors import UsageError
from llmdbg.frontends.doctor import doctor
from llmdbg.frontends.tui.input.preferences import load_preferences


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home of its own, with the terminal of a test."""
    for name in ("CONFIG", "STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("TERM", "tmux-256color")
    for name in ("COLORTERM", "NO_COLOR", "COLORFGBG", "TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def config(home, text):
    path = home / "config" / "llmdbg" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def told(capsys, *arguments):
    code = doctor(arguments)
    return code, capsys.readouterr().out


def test_a_healthy_machine(home, capsys):
    code, text = told(capsys)
    assert code == 0
    for words in ("torch ", "transformers ", "textual ", "greenlet ", "accelerate ", "cpu ", "smollm2 "):
        assert words in text
    assert f"{home}/config/llmdbg/config.toml  (not there yet)" in text
    assert f"{home}/state/llmdbg/sessions" in text
    assert "tmux-256color, inside tmux" in text
    assert "llmdbg-dark" in text
    assert "question_mark" not in text
    assert text.endswith("problems\n  none\n\n")


def test_the_same_as_json(home, capsys):
    code, text = told(capsys, "--json")
    report = json.loads(text)
    assert code == 0
    assert text.count("\n") == 1
    assert report["terminal"]["colors"] == "256"
    assert report["terminal"]["multiplexer"] == "tmux"
    assert report["keys"]["help"] == ["?"]
    assert report["devices"][0]["name"] == "cpu"
    assert 0 < report["devices"][0]["free"] <= report["devices"][0]["total"]
    assert report["problems"] == []


def test_problems_of_the_configuration_are_told_and_fail(home, capsys):
    config(home, 'theme = "lihgt"\nglyphs = "ascii"\n[keys]\nstep = "n"\nquit = "j"\n"\\u001b[31m" = "y"\n')
    code, text = told(capsys)
    assert code == 1
    assert text.startswith('problems\n  - theme = "lihgt"')
    assert "\nproblems\n" not in text
    assert "did you mean light?" in text
    assert '"n" is now step: next still has f10' in text
    assert "\x1b" not in text
    assert "  quit             j\n" in text
    report = json.loads(told(capsys, "--json")[1])
    assert len(report["problems"]) == 3
    assert report["terminal"]["unicode"] is False


@pytest.mark.slow
def test_a_key_chosen_twice_fails_and_nothing_is_left_without_one(home):
    config(home, '[keys]\nstep = "j"\nquit = "j"\n')
    done = subprocess.run([sys.executable, "-m", "llmdbg", "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith('problems\n  - "j" is chosen for step and for quit: step has it, quit still has q\n')
    assert "  step             j\n" in done.stdout
    assert "  quit             q\n" in done.stdout


def test_a_torch_that_cannot_be_used_is_told(home, capsys, monkeypatch):
    import torch

    def broken():
        raise RuntimeError("driver\nmismatch")

    monkeypatch.setattr(torch.cuda, "device_count", broken)
    code, text = told(capsys)
    assert code == 1
    assert "RuntimeError: driver mismatch" in text
    assert "driver" in (home / "state" / "llmdbg" / "log" / "llmdbg.log").read_text()


def test_the_example_can_be_used_as_it_is(home, capsys):
    code, text = told(capsys, "--config-example")
    assert code == 0
    assert load_preferences(config(home, text)).problems == ()
    assert "#pane_tokens" in text


def test_unknown_arguments(home):
    with pytest.raises(UsageError, match="llmdbg doctor --help"):
        doctor(["--jsno"])


def test_it_needs_no_screen_and_no_utf8(home):
    program = (
        "import sys\n"
        "from llmdbg.frontends.doctor import doctor\n"
        "code = doctor(['--config-example']) + doctor([])\n"
        "assert not any(name.partition('.')[0] == 'textual' for name in sys.modules)\n"
        "sys.exit(code)\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    environ |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "XDG_CACHE_HOME": f"{home}/é"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"  glyphs           ascii\n" in done.stdout
