"""What is said on a terminal whose llmdbg was killed."""

import faulthandler
import os
import subprocess
import termios

import pytest

from llmdbg.frontends.tui.terminal import guard, keeper


@pytest.mark.parametrize(
    ("resumes", "said"),
    [(True, "llmdbg: it was killed; `llmdbg --resume` continues the session"), (False, "llmdbg: it was killed")],
)
def test_only_a_session_that_can_be_continued_is_said_to_be(monkeypatch, tmp_path, resumes, said):
    started = []
    monkeypatch.setattr(termios, "tcgetattr", lambda _: [])
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))
    monkeypatch.setattr(faulthandler, "enable", lambda _: None)
    with guard.Guard(tmp_path / "log", resumes=resumes):
        pass
    (command,) = started
    reading, writing = os.pipe()
    monkeypatch.setattr(keeper, "_TERMINAL", writing)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: -1)
    keeper.give_back([], b"", command[-1])
    os.close(writing)
    with os.fdopen(reading, "rb") as terminal:
        assert terminal.read().decode() == f"{keeper.AS_IT_WAS}{said}\r\n"
