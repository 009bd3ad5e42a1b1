"""Every command, topic and question on a recording: an answer, or one line that says what is missing."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.standing_questions import STANDING_QUESTIONS
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import CommandError, LlmdbgError
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.answers.json_values import json_value
from llmdbg.frontends.batch.run import JsonWriter, run_batch
from llmdbg.traces.reader import Trace
from llmdbg.traces.replay.recorded_run import RecordedRun
from llmdbg.traces.tensor_files import KEEPS
from tests.recordings import record, tiny_generation
from tests.sessions import do, here, tiny_session

_PLACES = ("tokenize", "embed@0", "0@0", "1.mlp@1", "logits@1", "sample.top_k@2", "sample@3")
_OTHERS = (
    "x",
    "x 1",
    "x 1.mlp[0]",
    "x 1.self_attn.input",
    "print out.mean()",
    "print inputs",
    "explain",
    "explain 1.mlp",
    "focus 3",
)


@pytest.fixture(scope="module", params=["none", "last", "inputs"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    folder = tmp_path_factory.mktemp("recordings") / request.param
    return record(tiny_generation(temperature=0.8, top_k=20, seed=3), folder, KEEPS[request.param])


def debugger(trace: Trace) -> Debugger:
    return Debugger(RecordedRun(trace))


def lines() -> Iterator[str]:
    yield from (each.example for each in COMMANDS if each.name != "quit")
    yield from (f"info {topic}" for topic in TOPICS)
    yield from _OTHERS


@pytest.mark.parametrize("place", _PLACES)
def test_nothing_fails_but_in_one_line(
    recording: Trace, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = debugger(recording)
    for line in lines():
        do(session, f"goto {place}")
        try:
            outcome = COMMANDS.run(session, line)
        except LlmdbgError as error:
            assert len(str(error).splitlines()) == 1, line
        else:
            data = getattr(outcome, "data", None)
            assert answer_lines(data) is not None
            json_value(data)
    do(session, f"goto {place}")
    for name, question in STANDING_QUESTIONS.items():
        try:
            question.ask(session.inspector)
        except LlmdbgError as error:
            assert len(str(error).splitlines()) == 1, name
    assert here(session) == (place if "@" in place else f"{place}@0")
    session.close()


def refusal(session: Debugger, line: str) -> str:
    with pytest.raises(LlmdbgError) as raised:
        do(session, line)
    return str(raised.value)


def test_values_that_were_not_recorded_are_said_to_be_missing_and_how_to_record_them(tmp_path: Path) -> None:
    session = debugger(record(tiny_generation(), tmp_path / "run"))
    do(session, "goto 1.mlp@0")
    for line in ("x", "info values", "print out.mean()", "save tensor 1.mlp t.safetensors"):
        assert refusal(session, line) == (
            "the values of 1.mlp were not recorded: `llmdbg record --tensors all` keeps them"
        )
    assert "--tensors inputs" in refusal(session, "print inputs")
    assert "`break nonfinite` and `run`" in refusal(session, "info nonfinite")
    assert "no model is in a recording" in refusal(session, "print model")
    assert "no model is in a recording" in refusal(session, "info source")
    assert "attention is not in a recording" in refusal(session, "info attention")
    assert "stays as it is" in refusal(session, "edit out * 2")
    assert "stays as it is" in refusal(session, "force 3")
    assert "this is a recording already" in refusal(session, "record elsewhere")


def test_the_model_that_ran_then_is_described(tmp_path: Path) -> None:
    session = debugger(record(tiny_generation(), tmp_path / "run"))
    said = " ".join(answer_lines(do(session, "info model").data))
    assert "recording of tiny llama: LlamaForCausalLM, 2 layers float32 on cpu, attention sdpa" in said
    assert "recorded: 20" in said and "torch" in said


def test_the_last_position_alone_is_all_there_is_of_a_token_after_the_first(tmp_path: Path) -> None:
    session = debugger(record(tiny_generation(), tmp_path / "run", KEEPS["last"]))
    do(session, "goto 1.mlp@2")
    assert "32 values" in " ".join(answer_lines(do(session, "x").data))
    do(session, "goto 1.mlp@0")
    assert "at all positions but the last" in refusal(session, "x")
    live = tiny_session()
    do(live, "until 1.mlp")
    assert session.stop.tensor is not None and live.stop.tensor is not None
    assert session.stop.tensor.focus == live.stop.tensor.focus
    do(session, "focus 3")
    assert session.stop.tensor is not None and session.stop.tensor.focus is None
    assert "the numbers of single positions were not recorded" in answer_lines(do(session, "info stats").data)


def test_of_scores_that_are_cut_the_statistics_of_the_others_are_said_to_be_missing(tmp_path: Path) -> None:
    session = debugger(record(tiny_generation(temperature=0.8, top_k=20), tmp_path / "run"))
    do(session, "goto sample.top_k@0")
    assert session.stop.tensor is not None and session.stop.tensor.cut == 108
    assert "tokens in play were not recorded" in " ".join(answer_lines(do(session, "info stats").data))


@pytest.mark.parametrize(
    "lines",
    [
        ("break *.mlp if norm > 6", "continue", "continue", "reverse-continue"),
        ("break * if absmax > 3 and phase == 'decode'", "continue", "continue"),
        ("watch norm at 1", "continue", "continue", "info breakpoints"),
        ("trace 0 max, norm, std", "trace logits entropy, top1", "continue"),
        ("break sample if entropy < 4", "continue", "info candidates"),
        ("break surprise 0.5", "continue", "info stage"),
        ("break jump 1.2", "continue"),
        ("break nonfinite", "continue"),
        ("until 1@2", "next 3", "finish", "reverse-next", "reverse-step 2", "reverse-token", "info tokens"),
        ("token 2", "goto embed@1", "step 4", "info branches", "run"),
    ],
)
@pytest.mark.parametrize("keep", ["none", "inputs"])
def test_a_batch_stops_where_the_run_would_have(lines: tuple[str, ...], keep: str, tmp_path: Path) -> None:
    trace = record(tiny_generation(greedy=True), tmp_path / "run", KEEPS[keep])
    stops = []
    for session in (tiny_session(), debugger(trace)):
        do(session, "goto sample@0" if lines[-1] == "run" else "step")
        places: list[object] = []
        session.run.on_trace = lambda stop, places=places: places.append(
            (stop.stage.address, stop.token, [(name, _rounded(value)) for name, value in stop.values])
        )
        for line in lines:
            do(session, line)
            stop = session.stop
            places.append((here(session), stop.reason, stop.breakpoint, [name for name, _ in stop.values]))
        stops.append(places)
        session.close()
    assert stops[0] == stops[1]


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def test_json_lines_are_those_of_the_run(tmp_path: Path) -> None:
    trace = record(tiny_generation(greedy=True), tmp_path / "run", KEEPS["inputs"])
    said = []
    for session in (tiny_session(), debugger(trace)):
        out = io.StringIO()
        commands = [
            COMMANDS.parse(line) for line in ("break 1.mlp if token == 2", "continue", "info candidates", "run")
        ]
        run_batch(session, commands, JsonWriter(out), ())
        session.close()
        events = [json.loads(line) for line in out.getvalue().splitlines()]
        said.append([{name: value for name, value in each.items() if name != "ms"} for each in events[1:]])
    assert said[0] == said[1]


def test_a_condition_on_a_token_that_is_not_spelled_says_so(tmp_path: Path) -> None:
    session = debugger(record(tiny_generation(), tmp_path / "run"))
    with pytest.raises(CommandError, match="none of the tokens that the recording spells"):
        do(session, 'break sample if rank(" Paris") < 3')
