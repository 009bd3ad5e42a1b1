"""What a start of `serve --json` does without: a process that cuts the prompt early, for nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmdbg.frontends.prompts.early import _cores
from tests.frontends.server.client import Client

NOTES_IT = """
import sys
if any("early_process" in each for each in sys.orig_argv):
    open({path!r}, "w").close()
"""


@pytest.mark.slow
@pytest.mark.skipif(_cores() < 2, reason="on one core no such process is started")
def test_no_process_cuts_the_prompt_where_nobody_sees_its_tokens(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    (tmp_path / "sitecustomize.py").write_text(NOTES_IT.format(path=str(started)))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    client = Client(str(tiny_folder), "-p", "The quick brown fox", "-n", "2", "--greedy")
    assert client.next()["ok"]
    assert client.ask("quit")["ok"]
    client.process.wait(60)
    client.close()
    assert not started.exists()
