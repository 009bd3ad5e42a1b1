"""`rank N`: what one rank alone holds, in stops and in answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import schemas
from tests.torchrun import complaints, lines_with, run

PLANTED = Path(__file__).with_name("programs") / "planted.py"
_ARGUMENTS = ("-p", "The quick brown", "-n", "4", "--greedy", "--batch", "--json")


def events(folder: Path, *commands: str, ranks: int = 2) -> list[dict[str, Any]]:
    """The JSON Lines of a batch, each of which its schema allows."""
    typed = (word for command in commands for word in ("-ex", command))
    found = run(ranks, "-m", "llmdbg", str(folder), *_ARGUMENTS, *typed)
    assert found.returncode == 0, found.stderr
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    for line in lines:
        schemas.batch_event().validate(line)
    return lines


def test_each_rank_shows_its_own_part_and_the_parts_make_the_whole(shared_folder: Path):
    numbers = "print [*out.shape, out.double().sum().item(), inputs[0].shape[-1]]"
    looks = (numbers, "rank 0", numbers, "rank 1", numbers, "info stats", "rank all", numbers)
    found = events(shared_folder, "until 0.mlp.gate_proj", *looks)
    stops = [each for each in found if each["event"] == "stop"]
    assert [each.get("rank") for each in stops] == [None, 0, 1, None]
    assert {each["layout"] for each in stops} == {"split over axis 2"}
    whole, first, second, stats, again = (each["data"] for each in found if each["event"] == "result")
    (*shape, total, given), (*half, one, _), (*rest, two, other) = map(json.loads, (whole, first, second))
    assert half == rest == [*shape[:-1], shape[-1] // 2]
    assert given == other, "what is whole on every rank is not cut"
    assert one + two == pytest.approx(total, rel=1e-4)
    assert one != pytest.approx(two, rel=1e-2)
    assert stats["shape"] == rest
    assert stats["mean"] * stats_size(rest) == pytest.approx(two, rel=1e-3, abs=1e-3)
    assert again == whole


def stats_size(shape: list[int]) -> int:
    """How many values a tensor of this shape has."""
    return shape[0] * shape[1] * shape[2]


@pytest.mark.slow
def test_a_value_that_should_be_whole_is_shown_as_each_rank_has_it(shared_folder: Path):
    looks = ("until 1.self_attn.o_proj", "rank 0", "rank 1", "rank all", "rank 1", "until logits", "until sample")
    found = run(2, str(PLANTED), "missing_all_reduce", str(shared_folder), "0", *looks, "print out.shape", "token")
    assert found.returncode == 0, found.stderr
    here = lines_with(found.stdout, ["1.self_attn.o_proj"])
    told, first, second, again, _ = (line.partition("float32")[2].partition("  ")[0] for line in here)
    assert told == first == again, "without a choice it is rank 0's"
    assert first != second
    assert "rank 1, whole on every rank" in here[2]
    assert len(lines_with(found.stdout, ["sample", "rank 1, whole on every rank", "chose"])) == 2


@pytest.mark.slow
def test_the_cache_is_shown_by_rank(shared_folder: Path):
    looks = ("until 1", "info kv 0", "rank 1", "info kv 0", "info kv", "rank all", "info kv")
    found = events(shared_folder, *looks)
    whole, half, map_of_rank, map_of_all = (each["data"] for each in found if each["event"] == "result")
    assert whole["cache"] == "DynamicCache"
    assert half["cache"] == "DynamicCache on rank 1"
    assert half["layer"]["bytes"] * 2 == whole["layer"]["bytes"]
    assert map_of_rank["bytes"] * 2 == map_of_all["bytes"]


@pytest.mark.slow
def test_conditions_and_edits_are_about_the_whole_value(shared_folder: Path):
    looks = (
        "until 0.mlp.gate_proj",
        "rank 1",
        "break 1.mlp.gate_proj if norm > 0",
    )
    found = events(shared_folder, *looks, "zero 0.mlp.up_proj", "rank 0", "until 0.mlp.up_proj", "rank 1", "continue")
    [*_, end] = [each for each in found if each["event"] == "stop"]
    zeroed = [each for each in found if each["event"] == "stop" and each["stage"]["address"] == "0.mlp.up_proj"]
    assert [each["rank"] for each in zeroed] == [0, 1]
    assert all(each["tensor"]["norm"] == 0 for each in zeroed)
    norm = float(end["why"].split()[1])
    assert norm > end["tensor"]["norm"] * 1.1, "the condition saw both parts, the stop shows one"


@pytest.mark.slow
def test_the_values_of_ops_are_those_of_the_rank_that_shows_them(shared_folder: Path):
    found = events(shared_folder, "until 0.mlp.gate_proj", "stepi", "info ranks", "rank 1")
    _, ours, theirs = (each for each in found if each["event"] == "stop")
    [ranks] = (each["data"] for each in found if each["event"] == "result")
    assert (ours["layout"], ours.get("rank")) == ("rank 0's own", None)
    assert (theirs.get("layout"), theirs["rank"]) == (None, 1)
    assert ours["tensor"]["shape"] == theirs["tensor"]["shape"]
    assert ours["tensor"]["norm"] != theirs["tensor"]["norm"]
    assert ranks["layout"] == "each rank's own"


@pytest.mark.slow
def test_a_rank_that_is_not_there_is_refused(shared_folder: Path):
    found = run(2, "-m", "llmdbg", str(shared_folder), *_ARGUMENTS, "-ex", "rank 2")
    assert complaints(found.stderr) == ["there is no rank 2: this run has ranks 0 to 1"]
