"""Programs that were not written for llmdbg: under `llmdbg run` they do what they do without it, and stop where asked.

The same are their stdout, stderr but for llmdbg's own lines, exit code and files.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.frontends.program.forks import SCRIPTS, Done, Forks
from tests.sessions import write_tiny_folder

_PYTEST = ["--", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "-c", os.devnull]
_TWICE = ["tbreak 1.mlp", "continue", "break 0", "continue", "delete", "continue"]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    server = Forks()
    yield server
    server.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_folder(tmp_path_factory.mktemp("models") / "tiny"))


def both(
    forks: Forks, folder: Path, words: list[str], commands: list[str], given: str = ""
) -> tuple[Done, Done, list[Any]]:
    """A program alone, and under llmdbg with its stdout in a file; and the events that llmdbg wrote."""
    alone = forks.run("plain", words, folder / "alone", given)
    printed = folder / "printed"
    ours = ["--batch", "--json", "--program-output", str(printed)]
    ours += [word for each in commands for word in ("-ex", each)]
    done = forks.run("llmdbg", [*ours, *words], folder / "debugged", given)
    events = [json.loads(line) for line in done.out.splitlines()]
    return alone, Done(done.code, printed.read_text(), done.err, done.files), events


def assert_same(alone: Done, done: Done) -> None:
    assert plain(done.out) == plain(alone.out)
    assert plain(done.err) == plain(alone.err)
    assert done.code == alone.code
    assert done.files == alone.files


def plain(text: str) -> list[str]:
    """The lines of a program, without llmdbg's, the states of its progress bars, and how long things took."""
    lines = [each.rstrip() for each in re.split("[\r\n]", text) if not each.startswith(("note: ", "llmdbg: "))]
    lines = [re.sub(r"'train_(runtime|\w+_per_second)': '[\d.]+'|in [\d.]+s", "N", each) for each in lines]
    return [each for each in lines if each and "%|" not in each and not _is_of_torch(each)]


def _is_of_torch(line: str) -> bool:
    """Whether it is a line of a traceback inside torch, which calls modules with hooks by another way."""
    words = ("torch/nn/modules/module.py", "_call_impl(", "forward_call(", "return inner()", "^^^^")
    return any(each in line for each in words)


def stops(events: list[Any]) -> list[str]:
    return [f"{each['stage']['address']}@{each['token']}" for each in events if each["event"] == "stop"]


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("greedy.py", "1.mlp@0 0@1"),
        ("beams.py", "1.mlp@0 0@1"),
        ("batch_of_eight.py", "1.mlp@0 0@1"),
        ("adapter.py", "1.mlp@0 0@1"),
        ("trainer.py", "1.mlp@0 0@1"),
        ("evaluation.py", "1.mlp@0 0@1"),
        ("threads_and_a_process.py", "1.mlp@0 0@1"),
        ("vision.py", "1.mlp@0 0@1"),
        ("serves.py", "1.mlp@0 0@1"),
        ("workers.py", "1.mlp@0 0@1"),
        ("compiled.py", "1.mlp@0 0@1"),
        ("exported.py", "1.mlp@0 0@1"),
        ("spawns.py", "1.mlp@0 0@1"),
        ("bars.py", "1.mlp@0 0@1"),
        ("signals.py", "1.mlp@0 0@1"),
        ("two_models.py", "1.mlp@0 0@2"),
        ("exits_at_once.py", "1.mlp@0 0@1"),
        ("exits_with_text.py", "1.mlp@0"),
        ("at_exit.py", "1.mlp@0"),
        ("fails.py", "1.mlp@0 embed@1"),
    ],
)
def test_a_program_is_the_same_and_stops_where_it_is_asked_to(
    name: str, where: str, forks: Forks, tmp_path: Path
) -> None:
    alone, done, events = both(forks, tmp_path, [str(SCRIPTS / name)], _TWICE)
    assert_same(alone, done)
    assert stops(events)[: len(where.split())] == where.split()
    assert [each["event"] for each in events].count("end") == (0 if name == "exits_at_once.py" else 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "commands", "where"),
    [
        (
            "assisted.py",
            ["break 0.mlp", "break model2.1.mlp", *["continue"] * 4, "delete", "continue"],
            "0.mlp@0 model2.1.mlp@1 0.mlp@2 model2.1.mlp@3 sample@16",
        ),
        ("encoder_decoder.py", ["break encoder.1", "break 1@2", *["continue"] * 3], "encoder.1@0 1@2 sample@3"),
        # What the model itself catches is no stop; what leaves it is one, whoever catches that.
        (
            "catches.py",
            ["break logits", *["continue"] * 7],
            "logits@0 logits@1 logits@2 logits@3 0@4 logits@5 sample@5",
        ),
        ("looks_at_itself.py", ["break logits", "continue", "delete", "continue"], "logits@0 sample@2"),
        (
            "in_a_thread.py",
            ["break 1.mlp", *["continue"] * 7],
            "1.mlp@0 1.mlp@1 1.mlp@2 1.mlp@3 1.mlp@4 1.mlp@5 sample@5",
        ),
    ],
)
def test_stages_of_several_models_and_stacks(
    name: str, commands: list[str], where: str, forks: Forks, tmp_path: Path
) -> None:
    alone, done, events = both(forks, tmp_path, [str(SCRIPTS / name)], commands)
    assert_same(alone, done)
    assert stops(events) == where.split()


@pytest.mark.slow
def test_a_layer_that_only_another_model_has_is_named_as_it_is_called(forks: Forks, tmp_path: Path) -> None:
    _, done, _ = both(forks, tmp_path, [str(SCRIPTS / "assisted_by_less.py")], ["break 3.mlp"])
    assert "the layers of this model are 0 to 1; another model of the program has 'model2.3.mlp'" in done.err


@pytest.mark.slow
def test_no_frame_of_llmdbg_is_in_the_traceback_of_an_operation_that_fails_at_op_depth(
    forks: Forks, tmp_path: Path
) -> None:
    commands = ["set depth op", "break op aten.never", "continue", "continue"]
    alone, done, _ = both(forks, tmp_path, [str(SCRIPTS / "fails_between.py")], commands)
    assert_same(alone, done)
    assert "llmdbg/engine" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "commands", [["break 1.mlp"], ["set depth op", "break nonfinite"], ["trace 1.mlp.grad norm", "break logits"]]
)
def test_one_that_is_compiled_whole_is_the_same_and_it_is_said_that_nothing_stops_in_it(
    commands: list[str], forks: Forks, tmp_path: Path
) -> None:
    alone, done, events = both(forks, tmp_path, [str(SCRIPTS / "compiled_whole.py")], [*commands, *["continue"] * 4])
    assert_same(alone, done)
    assert stops(events)[-1].startswith("sample@")
    if commands == ["break 1.mlp"]:
        assert stops(events)[:2] == ["1.mlp@0", "1.mlp@1"]
        assert "compiled with fullgraph=True, which allows no stop inside" in done.err
        assert "TORCH_COMPILE_DISABLE=1" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([str(SCRIPTS / "text_pipeline.py")], ""),
        ([str(SCRIPTS / "reads_stdin.py")], "1 2 3\n4 5\n6\n"),
        (["-m", "package", "5", "6", "--json"], ""),
        ([*_PYTEST, str(SCRIPTS / "case_in_pytest.py")], ""),
    ],
)
def test_one_with_arguments_or_stdin(words: list[str], given: str, forks: Forks, tmp_path: Path, model: str) -> None:
    more = [model] if words[0].endswith("text_pipeline.py") else []
    alone, done, events = both(forks, tmp_path, [*words, *more], [*_TWICE, "continue"], given)
    assert_same(alone, done)
    assert stops(events)[0] == "1.mlp@0"


@pytest.mark.slow
def test_one_that_is_interrupted_ends_as_a_shell_sees_it(forks: Forks, tmp_path: Path) -> None:
    alone, done, events = both(forks, tmp_path, [str(SCRIPTS / "interrupted.py")], _TWICE)
    assert (plain(done.out), plain(done.err), done.files) == (plain(alone.out), plain(alone.err), alone.files)
    assert (alone.code, done.code) == (-2, 130)
    assert stops(events)[:2] == ["1.mlp@0", "0@2"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("greedy.py", 2), ("fails.py", 1)])
def test_a_refused_question_is_an_error_of_that_command_and_the_program_runs_on(
    name: str, code: int, forks: Forks, tmp_path: Path
) -> None:
    commands = ["until 1.mlp", "info nonfinite", "info ops 0", "continue", "continue"]
    alone, done, events = both(forks, tmp_path, [str(SCRIPTS / name)], commands)
    assert (plain(done.out), done.files) == (plain(alone.out), alone.files)
    assert done.code == code
    errors = [each for each in events if each["event"] == "error"]
    assert [each["type"] for each in errors] == ["UnableError"] * 2
    assert "`break nonfinite`" in errors[0]["message"] and "`set depth op`" in errors[1]["message"]
    assert events[-1]["event"] == "end"


@pytest.mark.slow
def test_what_runs_beside_a_suspended_program_prints_where_the_program_does(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "import threading, torch\nfrom tiny_models import llama\ndone = threading.Event()\n"
        "def tick():\n    while not done.wait(0.001):\n        print('tick', flush=True)\n"
        "threading.Thread(target=tick).start()\nllama()(torch.tensor([[1]]))\ndone.set()\nprint('after')\n"
    )
    alone, done, events = both(forks, tmp_path, [str(tmp_path / "p.py")], ["step"] * 5 + ["continue"])
    assert set(plain(done.out)) == set(plain(alone.out)) == {"tick", "after"}
    assert done.code == 0
    assert len(stops(events)) == 6


_FAILS_IN_PYTEST = """\
import pytest, torch
from tiny_models import llama
def test_one():
    llama()(torch.tensor([[500]]))
def test_two():
    print("never")
    llama()(torch.tensor([[5]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("moves", [["continue"], ["until embed", "quit"], ["continue", "quit"]])
def test_leaving_a_test_ends_pytest_too(moves: list[str], forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_FAILS_IN_PYTEST)
    ours = ["--batch", *(word for each in moves for word in ("-ex", each))]
    done = forks.run("llmdbg", [*ours, *_PYTEST, str(tmp_path / "test_it.py")], tmp_path / "debugged")
    assert done.code == 0, "it is llmdbg that ends here, and not a test that fails"
    assert "raised IndexError" in done.out
    assert "KeyboardInterrupt" in done.err and "GreenletExit" not in done.err and "never" not in done.err


@pytest.mark.slow
def test_a_program_that_catches_its_end_is_ended_again(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "import sys, torch\nfrom tiny_models import llama\nmodel, ids = llama(), torch.tensor([[5]])\n"
        "for at in range(3):\n    try:\n        model(ids)\n        print('ran')\n"
        "    except BaseException as error:\n        print('caught', type(error).__name__)\nsys.exit(8)\n"
    )
    done = forks.run("llmdbg", ["--batch", "-ex", "until 0.mlp", str(tmp_path / "p.py")], tmp_path / "debugged")
    assert done.code == 0
    assert done.err.count("caught GreenletExit") == 3 and "ran" not in done.err
