"""Faults planted on one rank: each is named with its stage, its rank and the value."""

import re
from pathlib import Path

import pytest

from llmdbg.traces.reader import HEADER
from tests.torchrun import complaints, lines_with, run, write_model

PLANTED = Path(__file__).with_name("programs") / "planted.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "seed", "stage", "words"),
    [
        ("perturbed_norm", "0", "1.input_layernorm", "rank 1 and rank 0 differ in what 1.input_layernorm returned"),
        ("missing_all_reduce", "0", "1.self_attn.o_proj", "differ in what 1.self_attn.o_proj returned"),
        ("other_seed", "3", "embed", "rank 1 and rank 0 differ in the random stream"),
        ("short_cache", "0", "1.self_attn", "differ in how many positions layer 1 of the cache holds: 5, 4"),
    ],
)
def test_the_first_stage_where_a_rank_differs_is_named(
    shared_folder: Path, fault: str, seed: str, stage: str, words: str
):
    found = run(2, str(PLANTED), fault, str(shared_folder), seed, "break unequal", "continue", "info stage")
    assert found.returncode == 0, found.stderr
    [first, *_] = lines_with(found.stdout, ["breakpoint 1 (unequal"])
    assert words in first
    assert f"prefill  {stage} " in first


@pytest.mark.slow
def test_a_part_that_one_rank_alone_holds_is_compared_with_the_file(shared_folder: Path):
    arguments = ("perturbed_shard", str(shared_folder), "0", "until 1.mlp.up_proj", "info ranks weights", "info ranks")
    found = run(2, str(PLANTED), *arguments)
    assert found.returncode == 0, found.stderr
    words = "rank 1 holds another model.layers.1.mlp.up_proj.weight than its file: 1 of 1024 values, the first at"
    assert lines_with(found.stdout, [f"{words} [34, 5], by 0.25 at most"])
    assert lines_with(found.stdout, ["1.mlp.up_proj returned: split over axis 2; was given: whole on every rank"])
    assert lines_with(found.stdout, ["1", "32 to 63 of axis 2"])


@pytest.mark.slow
def test_beside_one_process_the_stage_with_the_wrong_part_is_found(shared_folder: Path):
    beside = f"reference {shared_folder}"
    found = run(2, str(PLANTED), "perturbed_shard", str(shared_folder), "0", beside, "break diverged", "continue")
    assert found.returncode == 0, found.stderr
    [first] = lines_with(found.stdout, ["breakpoint 1 (diverged"])
    assert "prefill  1.mlp.up_proj " in first


@pytest.mark.slow
def test_a_stale_cache_is_compared_with_what_its_ids_give(shared_folder: Path):
    arguments = ("stale_cache", str(shared_folder), "0", "break unequal", "token 4", "info ranks cache", "info ranks")
    found = run(2, str(PLANTED), *arguments)
    assert found.returncode == 0, found.stderr
    assert lines_with(found.stdout, ["rank 1 holds other keys in layer 1 of the cache", "at positions 4, 5, 6, 7"])
    assert not lines_with(found.stdout, ["holds other values"])
    assert not lines_with(found.stdout, ["rank 0 holds"])


def test_a_nan_is_found_with_the_rank_that_has_it(shared_folder: Path, tmp_path: Path):
    weights = "x 1.mlp.up_proj.weight[34]"
    stops = ("break nonfinite", "continue", "info ranks", "info nonfinite", weights, f"record {tmp_path / 'RUN'}")
    found = run(2, str(PLANTED), "not_a_number", str(shared_folder), "0", *stops, "delete", "token 2")
    assert found.returncode == 0, found.stderr
    assert lines_with(found.stdout, ["(nonfinite: 5 NaN, weight[34,5] = nan, on rank 1)", "1.mlp.up_proj "])
    assert lines_with(found.stdout, ["1  cpu     32 to 63 of axis 2", "nan:5"])
    assert lines_with(found.stdout, ["0  cpu     0 to 31 of axis 2", "nan:0"])
    assert (tmp_path / "RUN" / HEADER).is_file()


def test_without_a_fault_nothing_is_unequal(shared_folder: Path):
    found = run(2, str(PLANTED), "none", str(shared_folder), "3", "break unequal", "continue")
    assert found.returncode == 0, found.stderr
    assert not lines_with(found.stdout, ["unequal:"])
    assert lines_with(found.stdout, ["end", "length"])


@pytest.mark.slow
def test_where_a_forward_walks_over_a_set_all_ranks_do_in_one_order(tmp_path: Path):
    """Gemma 3 calls its rotary embedding for each kind of attention, in the order of a set of their names."""
    folder = write_model(tmp_path, "gemma3")
    commands = ("-ex", "break unequal", "-ex", "until sample@1", "-ex", "info ranks")
    found = run(4, "-m", "llmdbg", str(folder), "-p", "Hi there", "-n", "2", "--batch", *commands)
    assert found.returncode == 0, found.stderr
    assert "differ" not in found.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "source", "hunted", "short"),
    [
        (
            "not_a_number_in_a_sum",
            "was given is not finite on rank 1 (32 NaN) alone",
            "it comes from rank 1: ",
            "from rank 1's part of its input",
        ),
        ("overflow_in_a_sum", "returned is not finite on rank 1 (", "its input was finite", "from what rank 1 adds"),
    ],
)
def test_what_a_sum_spread_is_traced_to_the_rank_it_came_from(
    shared_folder: Path, fault: str, source: str, hunted: str, short: str
):
    stops = ("break nonfinite", "continue", "info ranks", "info nonfinite")
    found = run(2, str(PLANTED), fault, str(shared_folder), "0", *stops)
    assert found.returncode == 0, found.stderr
    assert lines_with(found.stdout, ["(nonfinite: ", f", {short})", "1.mlp.down_proj "])
    [line] = lines_with(found.stdout, ["each rank", f"1.mlp.down_proj {source}"])
    assert line.endswith(" alone")
    assert lines_with(found.stdout, [hunted])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "stage", "first"),
    [("not_a_number_in_a_copy", "1.mlp", "output[0,4,3]"), ("not_a_number_in_the_logits", "lm_head", "output[0,0,3]")],
)
def test_a_nan_in_what_all_hold_alike_stops_them_though_rank_0_has_none(
    shared_folder: Path, fault: str, stage: str, first: str
):
    stops = ("break nonfinite", "continue", "info ranks", "info nonfinite", "token 2", "info nonfinite")
    found = run(2, str(PLANTED), fault, str(shared_folder), "0", *stops)
    assert found.returncode == 0, found.stderr
    assert lines_with(found.stdout, [f"(nonfinite: 1 NaN, {first} = nan, on rank 1)", f"{stage} "])
    assert len(lines_with(found.stdout, ["it comes from rank 1: what the other ranks hold is finite"])) == 2


@pytest.mark.slow
def test_what_cannot_be_answered_for_one_ranks_nan_is_refused_alike_on_all(shared_folder: Path):
    commands = ("until logits", "info lens", "info attribution")
    found = run(2, str(PLANTED), "not_a_number_in_a_copy", str(shared_folder), "0", *commands)
    assert found.returncode == 1  # torchrun's own, for any failure
    [line] = complaints(found.stderr)
    assert "is not finite" in line and "`info nonfinite`" in line and "all ranks end" not in line
    # torchrun may end one rank before that has ended by itself; none is aborted.
    assert "exitcode  : 2" in found.stderr and "SIGABRT" not in found.stderr


@pytest.mark.slow
@pytest.mark.untraced
def test_the_parts_of_a_sum_are_not_compared_and_the_sum_is_once_it_is_there(shared_folder: Path):
    ops = ("mm.0", "allreduce_.0")
    way = [line for op in ops for line in (f"until 1.mlp.down_proj/{op}", "info ranks")]
    found = run(2, str(PLANTED), "late", str(shared_folder), "0", "until 1.self_attn", "set depth op", *way)
    assert found.returncode == 0, found.stderr
    assert "differ" not in found.stdout
    rows = [line.split()[2:] for line in lines_with(found.stdout, ["cpu ", "nan:0"])]
    assert len(rows) == 4
    assert rows[0] != rows[1]
    assert rows[2] == rows[3]


@pytest.mark.slow
def test_ranks_that_wait_in_different_collectives_end_and_say_in_which(shared_folder: Path):
    found = run(2, str(PLANTED), "another_collective", str(shared_folder), "0", "until 1.mlp.act_fn", "step 9")
    assert found.returncode == 1
    [line] = complaints(found.stderr)
    waits = r"rank 0 waits in the debugger's \w+, after 1\.mlp@0, and rank 1 waits in the model's all_reduce"
    assert re.match(f"the ranks have parted: {waits}, after 1.mlp.down_proj@0, so all ranks end; the session is", line)


@pytest.mark.slow
def test_a_forward_that_fails_on_one_rank_ends_all_with_its_message(shared_folder: Path):
    found = run(2, str(PLANTED), "failing", str(shared_folder), "0", "continue")
    assert found.returncode == 1
    [line] = complaints(found.stderr)
    assert line.startswith("rank 1 failed: GenerationError: the forward failed at token 0, after stage tokenize")
    assert "ValueError: planted, so all ranks end; the session is saved" in line
