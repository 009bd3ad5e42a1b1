"""What a user may type: commands, addresses, conditions, slices, edits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.completion import complete
from llmdbg.debugger.commands.words import Words
from llmdbg.debugger.debugger import Debugger
from llmdbg.frontends.answers import answer_json, answer_lines
from tests.fuzz.inputs import ODD_TEXT, nearly
from tests.fuzz.watch import refused_or
from tests.sessions import tiny_session

_RUNS_PYTHON = ("print", "p", "edit", "source", "!")
_LINES = (
    *(command.example for command in COMMANDS if command.example),
    *(
        "break 1 if norm > 100 and token >= 2 or not (max < 3)",
        "tbreak *.mlp@2",
        "break sample if top1 == 'a'",
        "b 0-1",
    ),
    *("break nonfinite", "break jump 2", "break flip", "break surprise 0.5", "trace 1 norm, max if token > 1"),
    *("watch norm at 0", "watch top1", "condition 1 norm > 3", "ignore 1 3", "commands 1 info stage; n", "enable 1"),
    *("zero 1.mlp", "zero 1 row last", "scale 0 2 at last", "ablate 1 head 2", "patch 1 from main", "undo", "edits"),
    *("force ' is'", "force 7", "ban 3", "set temperature 0.5", "set top_p 0.9", "branch other", "switch main"),
    *(
        "info lens 5",
        "info attribution 'a'",
        "info attention 1 head 2",
        "info kv 1",
        "info values 1[0, -1, :8]",
        "x 0[::2]",
    ),
    *("info values 1.mlp.down_proj.weight[3] by magnitude", "info values logits as heat", "compare main", "focus -1"),
    *(
        "until 1@2",
        "goto 0@0",
        "goto logits@1",
        "next 3",
        "step 2",
        "token 2",
        "rs 2",
        "rt",
        "rn",
        "rc",
        "run",
        "start",
        "finish",
    ),
    *(
        "info tokens",
        "info candidates",
        "info nonfinite",
        "info cost",
        "info model",
        "explain",
        "explain residual stream",
    ),
    *("verify", "display norm at 1", "help break", "tour", "history", "info effect", "info source", "info breakpoints"),
)


@pytest.fixture(scope="module", autouse=True)
def _in_a_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    yield
    os.chdir(before)


@given(st.lists(nearly(_LINES), min_size=1, max_size=6))
def test_command_lines(lines: list[str]) -> None:
    session = tiny_session(max_new_tokens=4)
    try:
        for line in lines:
            if not line.strip().lower().startswith(_RUNS_PYTHON) and ">" not in line:
                _run(session, line)
        _run(session, "info stage")
        assert refused_or(lambda: COMMANDS.run(session, "info breakpoints")) is not None
    finally:
        session.close()


@given(nearly(_LINES) | ODD_TEXT)
def test_parsing_and_completing(line: str) -> None:
    refused_or(lambda: COMMANDS.parse(line))
    words = Words.of(_standing().run.stages.all(), (), 11, branches=("main",), candidates=(" a", "b"))
    for cursor in (0, len(line) // 2, len(line)):
        found = complete(line, cursor, words)
        assert 0 <= found.start <= found.end <= len(line)


_ADDRESSES = (
    "0",
    "layer 1",
    "1.mlp.down_proj",
    "*.mlp",
    "0-1",
    "0-1.self_attn",
    "norm",
    "sample.top_p",
    "logits@3",
    "1@decode",
)


@given(nearly(_ADDRESSES) | ODD_TEXT)
def test_addresses(text: str) -> None:
    refused_or(lambda: _standing().run.stages.addresses.resolve(text))


_CONDITIONS = (
    "norm > 100 and token >= 2 or not (max < 3)",
    "entropy < 1 and top1 == 'a'",
    "prob('cat') > 0.5",
    "changed(norm) > 2 * std",
    "nan or inf",
    "layer >= 15 and position != last",
    "abs(mean) >= 1e-3 and 1 < max - min <= 4",
)


@given(nearly(_CONDITIONS) | ODD_TEXT)
def test_conditions(text: str) -> None:
    session = _standing()
    refused_or(lambda: COMMANDS.run(session, f"break * if {text}"))
    refused_or(lambda: COMMANDS.run(session, "delete"))


_SLICES = (
    "0[0, -1, :8]",
    "0[::2]",
    "1.mlp.down_proj.weight[3]",
    "0[..., -1]",
    "0[0, 2:5, 1] by magnitude",
    "embed[-1]",
)


@given(nearly(_SLICES) | ODD_TEXT)
def test_slices(text: str) -> None:
    if ">" not in text:
        _run(_standing(), f"info values {text}")


_EDITS = (
    *("zero 1.mlp", "zero 1 row last", "scale 0 2 at last", "ablate 1 head 2", "ablate 1.self_attn heads 0-1"),
    *("patch 1 from main", "zero 0.mlp.act_fn neuron 7", "scale 1 -0.5 row 2-4", "force ' is'", "ban 3 7", "undo"),
)


@given(nearly(_EDITS) | ODD_TEXT)
def test_edits(line: str) -> None:
    refused_or(lambda: COMMANDS.parse(line))
    if line.startswith(("zero", "scale", "ablate", "patch", "force", "ban", "undo")) and ">" not in line:
        _run(_standing(), line)
        refused_or(lambda: COMMANDS.run(_standing(), "undo"))


_KEPT: list[Debugger] = []


def _standing() -> Debugger:
    """A session that is only read."""
    if not _KEPT:
        _KEPT.append(tiny_session(temperature=1.0, top_p=0.9))
    return _KEPT[0]


def _run(session: Debugger, line: str) -> None:
    outcome = refused_or(lambda: COMMANDS.run(session, line))
    data = getattr(outcome, "data", None)
    if data is not None:
        answer_lines(data)
        answer_json(data)
