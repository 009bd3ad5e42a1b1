"""Commands that a new file adds, as CONTRIBUTING describes it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from llmdbg.debugger.commands import COMMANDS

PACKAGE = Path(__file__).parents[3] / "llmdbg"
NEW_FILE = """
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.plain import Nothing
from llmdbg.debugger.commands.registry import COMMANDS, Answer


@COMMANDS.add("aloha", takes=Nothing(), effect=Effect(0), summary="Greet.", example="aloha")
def _greet(debugger, _):
    return Answer("hello")
"""


def test_a_command_needs_no_more_than_a_file_and_help_lists_it_after_the_others(tmp_path):
    copied = shutil.copytree(PACKAGE, tmp_path / "llmdbg", ignore=shutil.ignore_patterns("__pycache__"))
    (copied / "debugger" / "commands" / "aloha.py").write_text(NEW_FILE)
    done = subprocess.run(
        [sys.executable, "-c", "from llmdbg.debugger.commands import COMMANDS; print(*(c.name for c in COMMANDS))"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [*(each.name for each in COMMANDS), "aloha"]


def test_help_begins_with_what_moves_the_run():
    assert [each.name for each in COMMANDS][:6] == ["run", "start", "step", "next", "finish", "continue"]
