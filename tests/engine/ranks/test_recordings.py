"""A recording that ranks have made answers about each rank as the live stops did."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from llmdbg.errors import TraceError
from llmdbg.traces.rank_rows import What
from llmdbg.traces.reader import Trace
from tests import schemas
from tests.engine.ranks.test_batch import alike
from tests.torchrun import SECONDS, complaints, lines_with, run, started

PLANTED = Path(__file__).with_name("programs") / "planted.py"
PROMPT = ("-p", "The quick brown", "-n", "3", "--greedy")
SHAPES = "print [[*each.shape] for each in (out if isinstance(out, tuple) else (out,))]"
BITS = (
    "print [__import__('hashlib').sha256(bytes(each.contiguous().view(torch.uint8).flatten().tolist())).hexdigest() "
    "for each in (*(out if isinstance(out, tuple) else (out,)), *inputs) if isinstance(each, torch.Tensor)]"
)
STAGES = (
    *("0.self_attn.q_proj", "0.self_attn", "0.mlp.gate_proj", "0.mlp.act_fn", "0.mlp.down_proj", "1", "logits"),
    *("sample", "1.self_attn.o_proj@2", "1.mlp.up_proj@2"),
)


def commands(*lines: str) -> tuple[str, ...]:
    """Command lines as arguments."""
    return tuple(word for line in lines for word in ("-ex", line))


def looks(ranks: int) -> tuple[str, ...]:
    """What is asked of each rank at each stage, live and of the recording."""
    of_ranks = tuple(
        line for rank in range(ranks) for line in (f"rank {rank}", BITS, SHAPES, "info stage", "info stats", "x")
    )
    return tuple(line for stage in STAGES for line in (f"until {stage}", "info ranks", *of_ranks, "rank all"))


def live(ranks: int, folder: Path, recording: Path, keep: str, *lines: str) -> list[dict[str, Any]]:
    """The JSON Lines of ranks that record themselves."""
    record = f"record {recording} {keep}".rstrip()
    found = run(ranks, "-m", "llmdbg", str(folder), *PROMPT, "--batch", "--json", *commands(record, *lines))
    assert found.returncode == 0, found.stderr
    said = [json.loads(line) for line in found.stdout.splitlines()]
    assert said[1]["event"] == "result"
    return [said[0], *said[2:]]


def replayed(recording: Path, *lines: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """The JSON Lines of a replay in one process, each of which its schema allows, and what it complained of."""
    command = (sys.executable, "-m", "llmdbg", "replay", str(recording), "--batch", "--json", *commands(*lines))
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == code, found.stderr
    said = [json.loads(line) for line in found.stdout.splitlines()]
    for each in said:
        schemas.batch_event().validate(each)
    return said, " ".join(complaints(found.stderr))


def unnamed(line: dict[str, Any]) -> dict[str, Any]:
    """A line without the names of arguments, which only a live module knows."""
    if line.get("command") == "info stage":
        for each in line["data"].get("takes", ()):
            del each["name"]
    return line


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_each_rank_is_shown_as_at_the_live_stop_bit_by_bit(shared_folder: Path, tmp_path: Path, ranks: int):
    recording = tmp_path / "RUN"
    then = live(ranks, shared_folder, recording, "inputs", *looks(ranks), "continue")
    now, _ = replayed(recording, *looks(ranks), "continue")
    assert len(then) == len(now)
    # The first line is the prompt, whose vocabulary a recording does not have.
    for was, found in zip(map(unnamed, then[1:]), map(unnamed, now[1:]), strict=True):
        assert alike(was, found), (was, found)
    digests = [each["data"] for each in now if str(each.get("data")).startswith("['")]
    assert digests == [each["data"] for each in then if str(each.get("data")).startswith("['")]
    assert len(digests) == ranks * len(STAGES)
    assert len({*digests}) > ranks * 4, "of what is split, each rank's is another"
    layouts = [each["layout"] for each in now if each["event"] == "stop"]
    assert {*layouts} == {"whole on every rank", "split over axis 2"}
    assert {each.get("rank") for each in now if each["event"] == "stop"} == {None, *range(ranks)}


@pytest.fixture(scope="module")
def recorded(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of two ranks, which no test may change."""
    recording = tmp_path_factory.mktemp("recorded") / "RUN"
    live(2, shared_folder, recording, "all", "continue")
    return recording


@pytest.mark.slow
def test_no_more_is_kept_of_the_ranks_than_the_numbers_of_their_parts(recorded: Path):
    trace = Trace.open(recorded)
    assert trace.header.ranks == ("cpu", "cpu")
    assert not [*recorded.glob("*.rank-*")], "the ranks hold the same, or parts of what is whole there"
    for stage in (each for token in range(3) for each in trace.stages(token)):
        assert stage.ranks is not None and not stage.ranks.unequal and not stage.ranks.not_finite
        split = stage.layouts is not None and stage.layouts.returns[0] is not None and stage.layouts.returns[0].is_split
        assert [each.rank for each in stage.ranks.held] == ([0, 1] if split else [])
        for each in stage.ranks.held:
            tensor = trace.tensor(stage.token, stage.address, "output", stage.call)
            assert tensor is not None and each.statistics is not None
            part = tensor.chunk(2, -1)[each.rank]
            assert each.shape == part.shape
            assert each.statistics.mean == pytest.approx(part.mean().item(), rel=1e-4, abs=1e-6)
            assert (each.statistics.min, each.statistics.max) == (part.min().item(), part.max().item())


@pytest.mark.slow
def test_without_whole_tensors_the_numbers_of_each_rank_are_there_and_its_values_are_said_to_be_missing(
    shared_folder: Path, tmp_path: Path
):
    asked = ("until 0.mlp.gate_proj", "info ranks", "rank 1", "info stats")
    then = live(
        2, shared_folder, tmp_path / "RUN", "", *asked, "token", "until 0.mlp.gate_proj", "rank 1", "record stop"
    )
    now, complaint = replayed(tmp_path / "RUN", *asked, "x", code=2)
    assert "the values of 0.mlp.gate_proj were not recorded: `llmdbg record --tensors all` keeps them" in complaint
    found = [each for each in now if each["event"] in ("stop", "result")]
    was = [each for each in then if each["event"] in ("stop", "result")]
    assert found[-1]["event"] == "result"
    for one, other in zip(found[:-1], was, strict=False):
        for missing in ("focus", "missing", "focus_position"):
            for each in (one, other):
                (each.get("tensor") or each.get("data") or {}).pop(missing, None)
    assert alike(found[1], was[1]), "info ranks"
    assert found[2]["tensor"]["norm"] == pytest.approx(was[2]["tensor"]["norm"], rel=1e-5)
    _, complaint = replayed(tmp_path / "RUN", "until 0.mlp.gate_proj@1", "rank 1", "info ranks", code=2)
    assert complaint == "what each rank held at 0.mlp.gate_proj was not recorded: its token was not completed"
    for line, words in (("rank 2", "there is no rank 2: this run had ranks 0 to 1"), ("info ranks cache", "no rank's")):
        assert words in replayed(tmp_path / "RUN", line, code=2)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "seed", "address", "words"),
    [
        ("perturbed_norm", "0", "1.input_layernorm", "rank 1 and rank 0 differ in what 1.input_layernorm returned"),
        ("missing_all_reduce", "0", "1.self_attn.o_proj", "differ in what 1.self_attn.o_proj returned"),
        ("other_seed", "3", "tokenize", "rank 1 and rank 0 differ in the random stream"),
    ],
)
def test_a_rank_that_differs_is_named_by_the_recording_alone(
    shared_folder: Path, tmp_path: Path, fault: str, seed: str, address: str, words: str
):
    recording = tmp_path / "RUN"
    stops = (f"until {address}", "rank 0", BITS, "rank 1", BITS) if address != "tokenize" else ()
    found = run(2, str(PLANTED), fault, str(shared_folder), seed, f"record {recording} inputs", *stops, "continue")
    assert found.returncode == 0, found.stderr
    now, _ = replayed(recording, "break unequal", "continue", "info ranks", "rank 0", BITS, "rank 1", BITS)
    stopped = [each for each in now if each["event"] == "stop"]
    answers = [each["data"] for each in now if each["event"] == "result"]
    assert words in stopped[0]["unequal"][0]
    if address == "tokenize":
        return
    assert stopped[0]["stage"]["address"] == address
    assert words in answers[1]["unequal"][0]
    one, other = (row["numbers"] for row in answers[1]["rows"])
    assert one != other
    assert (stopped[-1]["rank"], stopped[-1]["tensor"]["norm"]) == (1, pytest.approx(other["norm"]))
    bits = [line for line in found.stdout.splitlines() if line.startswith("['")]
    assert [repr(json.loads(each.replace("'", '"'))) for each in answers[2:]] == bits, "each rank's own, bit by bit"
    assert bits[0] != bits[1]


def test_the_token_that_a_rank_chose_otherwise_is_kept(shared_folder: Path, tmp_path: Path):
    recording = tmp_path / "RUN"
    found = run(2, str(PLANTED), "other_seed", str(shared_folder), "3", f"record {recording}", "continue")
    assert found.returncode == 0, found.stderr
    trace = Trace.open(recording)
    other = next(each for each in trace.tokens if each.ranks)
    now, _ = replayed(recording, f"until sample@{other.index}", "rank 1", "rank 0")
    whole, one, zeroth = (each["chosen"]["id"] for each in now if each["event"] == "stop")
    assert (whole, one, zeroth) == (other.id, other.ranks[0].id, other.id)
    assert one != zeroth


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "address", "short", "source"),
    [
        (
            *("not_a_number_in_a_sum", "1.mlp.down_proj", "from rank 1's part of its input"),
            "was given is not finite on rank 1 (32 NaN) alone",
        ),
        ("overflow_in_a_sum", "1.mlp.down_proj", "from what rank 1 adds", "returned is not finite on rank 1 ("),
        ("not_a_number", "1.mlp.up_proj", "on rank 1", ""),
    ],
)
def test_the_rank_that_values_come_from_that_are_not_finite_is_named_by_the_recording_alone(
    shared_folder: Path, tmp_path: Path, fault: str, address: str, short: str, source: str
):
    recording = tmp_path / "RUN"
    stops = (f"record {recording}", f"until {address}", "info ranks", "token 2")
    found = run(2, str(PLANTED), fault, str(shared_folder), "0", *stops)
    assert found.returncode == 0, found.stderr
    now, _ = replayed(recording, "break nonfinite", "continue", "info ranks")
    [stopped] = [each for each in now if each["event"] == "stop"]
    table = next(each["data"] for each in now if each["event"] == "result" and "rows" in (each["data"] or {}))
    assert stopped["stage"]["address"] == address
    assert stopped["why"].endswith(f", {short}")
    if source:
        [said] = table["sources"]
        assert source in said and lines_with(found.stdout, [said]), "as at the live stop"
    else:
        assert [row["numbers"]["nan"] for row in table["rows"]] == [0, 5]


@pytest.mark.slow
def test_a_folder_that_is_there_is_refused_on_all_ranks_and_they_go_on(shared_folder: Path, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    lines = (f"record {tmp_path / 'full'}", f"record {tmp_path / 'RUN'}", "continue")
    arguments = ("-m", "llmdbg", str(shared_folder), *PROMPT, "--batch", "-x", "-", "--keep-going")
    with started(2, *arguments, stdin=subprocess.PIPE) as launcher:
        _, narration = launcher.communicate("\n".join(lines), timeout=SECONDS)
    [complaint] = complaints(narration)
    assert complaint.startswith(f"{tmp_path / 'full'} is there already, and no empty folder")
    assert len(Trace.open(tmp_path / "RUN").tokens) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "where"), [("no_room", "on rank 1: "), ("no_room_at_rank_0", "")])
def test_where_one_rank_cannot_write_the_recording_ends_on_all_and_the_run_goes_on(
    shared_folder: Path, tmp_path: Path, fault: str, where: str
):
    lines = (f"record {tmp_path / 'RUN'}", "token 2", "info record", "continue")
    found = run(2, str(PLANTED), fault, str(shared_folder), "0", *lines)
    assert found.returncode == 0, found.stderr
    assert lines_with(found.stdout, [f"outputs of stages; ended: {where}cannot write the recording "])
    assert lines_with(found.stdout, ["end", "length"])


def test_the_table_of_ranks_is_as_documented(recorded: Path):
    rows = load_file(recorded / "ranks-00000.safetensors")
    tokens = [json.loads(line) for line in (recorded / "tokens.jsonl").read_text().splitlines()]
    assert sum(each["rank_rows"] for each in tokens) == len(rows["row"])
    assert {*rows["what"].tolist()} == {What.HELD}
    assert {*rows["rank"].tolist()} == {0, 1}
    whole = load_file(recorded / "tensors-00000.safetensors")["0.mlp.up_proj/output"]
    index = [json.loads(line) for line in (recorded / "index.jsonl").read_text().splitlines()]
    forms = {each["form"]: each for each in index}
    stages = load_file(recorded / "stages-00000.safetensors")
    found = 0
    for row, rank, form, numbers in zip(rows["row"], rows["rank"], rows["form"], rows["statistics"], strict=True):
        [layout] = forms[int(stages["form"][row])]["layouts"]["returns"]
        first, size = sum(layout["sizes"][:rank]), layout["sizes"][rank]
        assert forms[int(form)]["shape"][layout["axis"]] == size
        if numbers[1] == whole[..., first : first + size].max():
            found += 1
    assert found == 2


@pytest.mark.parametrize(
    ("file", "then", "other", "said"),
    [
        ("tokens.jsonl", '"rank_rows":24', '"rank_rows":99999999', "what it says of the ranks at token"),
        ("tokens.jsonl", '"first_rank_row":24', '"first_rank_row":-3', "what it says of the ranks at token 1"),
        ("tokens.jsonl", '"first_rank_row":24', '"first_rank_row":0', "what it says of the ranks at token 1"),
        ("tokens.jsonl", '"rank_rows":24}', '"rank_rows":24,"unequal":[{"row":99,"found":["x"]}]}', "at token"),
        ("index.jsonl", '"sizes":[32,32]', '"sizes":[32,31]', "cannot be split as it says"),
        ("index.jsonl", '"sizes":[32,32]', '"sizes":[64]', "cannot be split as it says"),
        ("index.jsonl", '"axis":2', '"axis":7', "cannot be split as it says"),
        ("trace.json", '"ranks":["cpu","cpu"]', '"ranks":["cpu"]', "cannot be split as it says"),
    ],
)
def test_what_makes_no_sense_of_ranks_is_said_in_a_line(
    recorded: Path, tmp_path: Path, file: str, then: str, other: str, said: str
):
    damaged = tmp_path / "RUN"
    shutil.copytree(recorded, damaged)
    text = (damaged / file).read_text()
    assert then in text
    (damaged / file).write_text(text.replace(then, other))
    with pytest.raises(TraceError, match=said) as raised:
        for token in range(3):
            Trace.open(damaged).stages(token)
    assert len(str(raised.value).splitlines()) == 1


def test_a_table_of_ranks_that_is_gone_is_said_in_a_line(recorded: Path, tmp_path: Path):
    damaged = tmp_path / "RUN"
    shutil.copytree(recorded, damaged)
    (damaged / "ranks-00000.safetensors").unlink()
    with pytest.raises(TraceError, match=r"cannot read .*ranks-00000"):
        Trace.open(damaged).stages(0)
