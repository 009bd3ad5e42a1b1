"""What is said on a terminal whose llmdbg was killed."""

import faulthandler
import os
import subprocess
import termios

import pytest

from llmdbg.frontends.tui.terminal import guard, keeper


@pytest.mark.parametrize(
    ("way_on", "said"),
    [("`this` goes on", "llmdbg: it was killed; `this` goes on"), ("", "llmdbg: it was killed")],
)
def test_what_the_user_can_do_then_is_said_if_there_is_anything(monkeypatch, tmp_path, way_on, said):
    started = []
    monkeypatch.setattr(termios, "tcgetattr", lambda _: [])
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))
    monkeypatch.setattr(faulthandler, "enable", lambda _: None)
    with guard.Guard(tmp_path / "log", way_on=way_on):
        pass
    (command,) = started
    reading, writing = os.pipe()
    monkeypatch.setattr(keeper, "_TERMINAL", writing)
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: -1)
    keeper.give_back([], b"", command[-1])
    os.close(writing)
    with os.fdopen(reading, "rb") as terminal:
        assert terminal.read().decode() == f"{keeper.AS_IT_WAS}{said}\r\n"
