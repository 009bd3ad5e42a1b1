"""Programs that know nothing of llmdbg: each prints the same under it, to the bit, and stops where it is asked to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch.nn.modules import module as torch_module

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.program.exits import exit_of
from llmdbg.engine.program.launched import LaunchedProgram
from llmdbg.engine.program.launching import command, module, script
from llmdbg.errors import CommandError, OverError, UsageError
from llmdbg.frontends.tui.worker.seen_stages import SeenStages
from llmdbg.frontends.tui.worker.snapshot import snapshot
from tests.sessions import write_tiny_folder

PROGRAMS = Path(__file__).parent / "programs"
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program changes of the process is put back."""
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("models") / "tiny")


def begun(name: str, *arguments: str) -> Debugger:
    program = LaunchedProgram(script(str(PROGRAMS / name), arguments))
    assert program.find()
    return Debugger(program)


def do(session: Debugger, *lines: str) -> None:
    for line in lines:
        COMMANDS.run(session, line)


def at(session: Debugger) -> str:
    return f"{session.stop.stage.address}@{session.stop.token}"


def largest(session: Debugger) -> float:
    assert session.stop.tensor is not None and session.stop.tensor.numbers is not None
    return session.stop.tensor.numbers.max


def hooks() -> int:
    tables = (torch_module._global_forward_pre_hooks, torch_module._global_module_registration_hooks)
    return sum(map(len, tables))


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("greedy.py", 6),
        ("without_cache.py", 4),
        ("text_pipeline.py", 8),
        ("beams.py", 5),
        ("left_padded.py", 4),
        ("encoder_decoder.py", 4),
        ("assisted.py", None),
        ("adapter.py", 3),
        ("training.py", 3),
        ("own_model.py", 1),
        ("traced.py", None),
        ("exported.py", None),
    ],
)
def test_it_prints_the_same_stepped_through_every_stage(
    name: str, tokens: int | None, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(folder)] if name == "text_pipeline.py" else []
    assert exit_of(script(str(PROGRAMS / name), arguments).run).code == 0
    alone = capsys.readouterr().out
    assert alone
    session = begun(name, *arguments)
    visited = [at(session)]
    while session.end is None:
        do(session, "step")
        visited.append(at(session))
    assert capsys.readouterr().out == alone
    assert session.end.stopped_by == "exit"
    assert len(visited) > 10
    count = int(visited[-1].partition("@")[2]) + 1
    assert tokens in (None, count)
    assert not hooks()


def test_the_first_call_is_the_first_stop_and_the_tokens_are_what_is_fed(capsys: pytest.CaptureFixture[str]) -> None:
    session = begun("greedy.py")
    assert at(session) == "tokenize@0"
    assert session.debuggee.prompt.ids == (5, 17, 33, 2, 9)
    assert not capsys.readouterr().out, "nothing has been printed yet"
    do(session, "break 1.mlp@2", "continue")
    assert (at(session), session.stop.phase) == ("1.mlp@2", "decode")
    assert [row.id for row in session.run.tokens()] == [5, 17, 33, 2, 9, 35, 10]
    do(session, "token")
    assert session.stop.chosen is not None
    assert (session.stop.chosen.id, session.stop.chosen.rank) == (35, 1)
    do(session, "until logits")
    assert session.stop.candidates is not None
    do(session, "continue")
    assert session.end is not None and session.end.ids == (35, 10, 35, 10, 44)


@pytest.mark.untraced
def test_a_model_of_ones_own_is_stepped_through_by_lines_and_operations(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(script(str(PROGRAMS / "own_model.py"), []).run).code == 0
    alone = capsys.readouterr().out
    session = begun("own_model.py")
    do(session, "set depth op", "step 3", "until 1.mlp.1", "step")
    assert session.stop.stage.address.startswith("1.mlp.2/")
    do(session, "set depth line", "break own_model.py:15 if layer == 2", "continue")
    assert session.stop.stage.layer == 2
    assert session.stop.code is not None and session.stop.code.text == "return x + self.mlp(self.norm(x))"
    while session.end is None:
        do(session, "step")
    assert capsys.readouterr().out == alone


def test_with_nothing_armed_only_the_model_itself_carries_hooks() -> None:
    session = begun("greedy.py")
    do(session, "until logits@3")
    assert session.debuggee.loaded is not None
    hooked = [path for path, each in session.debuggee.loaded.model.named_modules() if each._forward_hooks]
    assert hooked == ["", "model"]
    assert not torch_module._global_forward_pre_hooks
    session.close()
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in session.debuggee.loaded.model.modules())


def test_it_runs_once_and_says_why_it_cannot_do_more() -> None:
    session = begun("greedy.py")
    do(session, "until 1")
    for line, said in (
        ("reverse-step", r"greedy\.py cannot go back: it has run on, and what it did cannot be undone"),
        ("run", r"greedy\.py cannot go back"),
        ("force 3", r"greedy\.py cannot change how a token is chosen: it chooses its tokens itself"),
        ("branch other", r"greedy\.py cannot branch"),
    ):
        with pytest.raises(CommandError, match=said):
            do(session, line)
    assert at(session) == "1@0"
    session.close()


def test_an_edit_applies_here_and_in_what_comes_and_can_be_undone(capsys: pytest.CaptureFixture[str]) -> None:
    session = begun("greedy.py")
    do(session, "until 0.mlp@1", "zero 0.mlp")
    assert largest(session) == 0
    assert "32 of 32 values of 0.mlp changed" in session.edits.done
    do(session, "until 0.mlp@2")
    assert largest(session) == 0
    do(session, "undo", "until 0.mlp@3")
    assert largest(session) > 0
    do(session, "until logits@3", "edit out * 0 + (torch.arange(128) == 7) * 9.0", "token")
    assert session.stop.chosen is not None and session.stop.chosen.id == 7, "the program got the edited scores"
    do(session, "continue")
    assert ", 7, " in capsys.readouterr().out


def test_both_stacks_of_an_encoder_decoder_are_stages() -> None:
    session = begun("encoder_decoder.py")
    assert session.debuggee.prompt.ids == (5, 17, 33, 2)
    seen = [at(session)]
    while session.end is None and session.stop.token < 2:
        do(session, "next")
        seen.append(at(session))
    first = [each for each in seen if each.endswith("@0")]
    assert first == ["tokenize@0", "encoder.0@0", "encoder.1@0", "0@0", "1@0", "norm@0", "logits@0", "sample@0"]
    assert "encoder.0@1" not in seen
    do(session, "until 1.layer.0.SelfAttention")
    session.close()


def test_a_second_model_has_a_prefix() -> None:
    said: list[str] = []
    program = LaunchedProgram(script(str(PROGRAMS / "assisted.py"), ()), said.append)
    assert program.find()
    session = Debugger(program)
    assert said == ["the program has another model, LlamaForCausalLM: its stages begin with model2."]
    do(session, "break model2.1.mlp", "break model2.logits", "continue")
    assert session.stop.stage.address == "model2.1.mlp"
    do(session, "continue")
    assert session.stop.candidates is not None
    session.close()


def test_a_training_step_is_a_token_and_positions_are_those_of_its_batch() -> None:
    session = begun("training.py")
    prompts = [session.debuggee.prompt.ids]
    for _ in range(2):
        do(session, "token", "until 1")
        prompts.append(session.debuggee.prompt.ids)
        assert session.stop.tensor is not None and session.stop.tensor.shape == (2, 6, 32)
        assert session.inspector.forward_positions() == (0, 6)
    assert len({*prompts}) == 3
    session.close()


def test_left_padding_is_known_from_the_mask() -> None:
    session = begun("left_padded.py")
    assert (session.debuggee.prompt.ids, session.debuggee.prompt.padding) == ((0, 0, 5, 17), 2)
    session.close()


def test_a_tokenizer_at_hand_gives_the_words(folder: Path) -> None:
    session = begun("text_pipeline.py", str(folder))
    assert session.debuggee.prompt.text == "The quick"
    session.close()


def test_an_exception_stops_first_and_then_goes_on_as_it_would(capsys: pytest.CaptureFixture[str]) -> None:
    session = begun("fails.py")
    do(session, "continue")
    assert (at(session), session.stop.reason) == ("embed@1", "exception")
    assert session.stop.why == "IndexError: index out of range in self"
    # The second sequence has one id, at position 0.
    assert snapshot(session, SeenStages()).focus == 0
    do(session, "continue")
    assert (at(session), session.stop.reason) == ("1.mlp.down_proj@2", "exception")
    do(session, "continue")
    assert session.end is not None and session.end.stopped_by == "exit"
    with pytest.raises(OverError, match=r"^the program has ended$"):
        do(session, "continue")
    out, err = capsys.readouterr()
    assert out == "caught IndexError\n"
    assert "llmdbg" not in err and err.count("Traceback") == 1 and "fails.py" in err
    assert session.end.ended_with == "RuntimeError"


def test_a_module_and_a_console_command(capfd: pytest.CaptureFixture[str]) -> None:
    program = LaunchedProgram(module("greedy", ["--fast"]))
    assert program.find()
    assert sys.argv[1:] == ["--fast"] and sys.argv[0].endswith("greedy.py")
    Debugger(program).close()
    with pytest.raises(UsageError, match="no command"):
        command(["no-such-command"])
    with pytest.raises(UsageError, match="is no Python program"):
        command(["sh"])
    assert command(["pytest", "-x"]).name == "pytest"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('wrong')", 1, "wrong\n"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
        ("pass", 0, ""),
    ],
)
def test_a_program_without_a_model_ends_as_it_would(
    tmp_path: Path, text: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.py").write_text(text)
    program = LaunchedProgram(script(str(tmp_path / "p.py"), ()))
    assert not program.find()
    assert program.exit is not None and program.exit.code == code
    assert said in capsys.readouterr().err
    assert not hooks()


def test_lines_and_ops_of_its_forwards_are_stages_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(script(str(PROGRAMS / "greedy.py"), []).run).code == 0
    alone = capsys.readouterr().out
    session = begun("greedy.py")
    do(session, "until 0.mlp", "set depth line", "step")
    assert session.stop.stage.kind == "line"
    do(session, "set depth op", "step")
    assert session.stop.stage.kind == "op"
    do(session, "set depth module", "until 1.mlp@2", "set depth op", "next", "step", "continue")
    assert session.end is not None
    assert capsys.readouterr().out == alone


def test_the_scores_of_a_model_inside_an_adapter_are_known() -> None:
    session = begun("adapter.py")
    do(session, "token")
    assert session.stop.chosen is not None and session.stop.chosen.rank == 1
    do(session, "until 1.self_attn.q_proj.lora_A.default")
    session.close()


def test_a_script_has_the_absolute_path_that_python_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever was typed, so that it holds after a change of folder, in tracebacks too."""
    (tmp_path / "where.py").write_text("import sys; print(__file__, sys._getframe().f_code.co_filename, sys.argv[0])\n")
    monkeypatch.chdir(tmp_path)
    assert not LaunchedProgram(script("where.py", ())).find()
    here = str(tmp_path / "where.py")
    assert capsys.readouterr().out.split() == [here, here, "where.py"]


@pytest.mark.parametrize("line", ["token", "trace sample top1", "until sample", "break * if entropy < 0"])
def test_ids_that_the_head_does_not_score_are_no_error(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of the debugger's is raised in the program."""
    session = begun("unscored.py")
    do(session, line)
    session.run.tokens()
    while session.end is None:
        do(session, "continue")
    assert session.end.ended_with is None and len(capsys.readouterr().out.split()) == 3
    session.close()
