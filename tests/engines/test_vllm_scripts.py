"""Scripts that run a real vLLM engine, under `llmdbg run`. `.ci/vllm` runs this.

LLMDBG_VLLM_PYTHON is the Python of an environment with vLLM, which wants another transformers than this one.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from llmdbg.models.demo import demo_folder

_PYTHON = os.environ.get("LLMDBG_VLLM_PYTHON", "")
_HOUSE = Path(__file__).parents[2]
_SCRIPTS = Path(__file__).with_name("scripts")
pytestmark = [
    pytest.mark.skipif(not _PYTHON, reason="LLMDBG_VLLM_PYTHON names no Python with vLLM"),
    pytest.mark.timeout(1500),
]


@pytest.fixture(scope="module")
def folder() -> str:
    """The demo model's folder."""
    return str(demo_folder(lambda _: None))


def run(*words: str, apart: bool = False) -> str:
    """What vLLM's Python prints, and on success what it says; its engine is in a process of its own if `apart`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(_HOUSE),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1" if apart else "0",
    }
    done = subprocess.run([_PYTHON, *words], env=environment, timeout=600, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + "".join(each for each in done.stderr.splitlines(keepends=True) if each.startswith("note:"))


def own_lines(printed: str) -> list[str]:
    """What a script prints, without what vLLM prints while it loads."""
    return [each for each in printed.splitlines() if each and not each.startswith(("Loading", "note:"))]


def debugged(script: str, folder: str, tmp_path: Path, *commands: str, same: bool = True) -> str:
    """What llmdbg says of a script, which prints what it prints without it."""
    path, printed = str(_SCRIPTS / f"{script}.py"), tmp_path / "printed"
    typed = [word for each in commands for word in ("-ex", each)]
    said = run("-m", "llmdbg", "run", "--batch", "--program-output", str(printed), *typed, path, folder)
    if same:
        plain = own_lines(run(path, folder))
        assert plain and own_lines(printed.read_text()) == plain
    return f"{said}\n{printed.read_text()}"


def stages(said: str, token: int = 0) -> list[str]:
    """The addresses of the stops at a token, in order."""
    return re.findall(rf"^token {token}  \w+ +(\S+)", said, re.MULTILINE)


def test_the_sampler_s_steps_of_several_requests_are_stages(folder: str, tmp_path: Path) -> None:
    """Each step of any of them is one for all, with each request's own scores."""
    steps = ["step"] * 8
    said = debugged(
        "sampling", folder, tmp_path, "until logits", *steps[:1], "lane 1", *steps[1:], "lane 2", "continue"
    )
    assert stages(said)[:2] == ["logits", "sample.logit_bias"]
    expected = ["penalties", "temperature", "min_p", "top_k_top_p"]
    assert stages(said)[3:8] == [*(f"sample.{each}" for each in expected), "sample"]
    lines = said.splitlines()
    assert any("sample.penalties" in each and "lane 1" in each and '" Paris" 77.7%' in each for each in lines)
    assert any("sample.temperature" in each and '" Paris" 85.9%' in each for each in lines)
    assert any("sample.top_k_top_p" in each and "cut:49,151" in each for each in lines)
    assert 'lane 1  int64[1]  chose 7042 " Paris" 100.0% rank 1' in said
    assert stages(said, 1)[0] == "embed"


def test_an_edit_of_scores_changes_the_chosen_request_alone(folder: str, tmp_path: Path) -> None:
    """Request 1 has " London" in the place of " Paris" and goes on from there; the others are as they were."""
    only = "edit @0 out.index_fill(1, torch.tensor([4528]), 99.0)"
    said = debugged("sampling", folder, tmp_path, "until logits", "lane 1", only, "lane all", "continue", same=False)
    plain = own_lines(run(str(_SCRIPTS / "sampling.py"), folder))
    assert [said.count(each) for each in plain] == [1, 0, 1]
    assert "The capital of France is [4528," in said
    assert "of 147,456 values of logits changed" in said


def test_a_request_s_model_can_be_asked_for_its_parts(folder: str, tmp_path: Path) -> None:
    """Of one request; the lens ends in the scores that vLLM's sampler gets."""
    look = ("until 12", "lane 1", "info lens", "explain", "info model", "until logits", "info lens", "until sample")
    said = debugged("several", folder, tmp_path, *look, "explain", "lane all", "info kv", "continue")
    assert 'The vector of " is" at position 4' in said and "all 5 tokens of the prompt go through the model" in said
    assert "LlamaForCausalLM, 30 layers" in said and "attention CPUAttentionBackend" in said
    last, scores = re.findall(r'^ *(29|logits) +\S+ +(77.3% " Paris" +6.5% " the" .*)$', said, re.MULTILINE)
    assert last[1] == scores[1]
    assert 'Greedy decoding took the highest score: the next token is " Paris", the likeliest at 77%' in said
    assert "(of 182): lane 0 positions 0 to 3 in 1; lane 1 positions 0 to 4 in 2; lane 2 positions 0 to 4 in 3." in said


def test_lines_and_operations_of_its_forward_change_no_bit(folder: str, tmp_path: Path) -> None:
    """Stepped through, and all of them followed."""
    lines = ("until 3", "set depth line", "step", "step 40", "set depth op", "step", "step 20")
    said = debugged("exact", folder, tmp_path, *lines, "break nonfinite", "continue")
    assert re.search(r"  forward:\d+ +llama.py:\d+ ", said) and re.search(r"  \S+/\w+\.\d+ +float32", said)
    assert "hit 0 times" in said and "['-0x1." in said


TRIED = {
    "chat": (
        ("until 12", "info lanes", "until sample", "lane 3", "until 12@2", "info lanes", "continue"),
        (r"token 0  prefill  sample +lane 3 .*chose 2705", r"> +3 +1_1-\S+ +3 +34 +2 +\"One colour\""),
    ),
    "stopping": (
        ("until logits", *["step"] * 5, "until logits@7", "info kv", "lane 0", "explain", "continue"),
        (
            r"sample.bad_words .*cut:2",
            r"sample.min_tokens .*cut:3",
            r"sample.logit_bias",
            r"sample.penalties",
            r"lane 1 positions 0 to 147 in 1, 3; 1 shared",
            r"of the prompt's 148 tokens, positions 128 to 147 go through",
        ),
    ),
    "structured": (
        ("until sample.structured_output", "step", "continue"),
        (r"sample.structured_output .*cut:", r"chose 31176 \"Positive\""),
    ),
    "drafting": (
        ("until logits", "until 12@2", "info lanes", "until logits@2", "continue"),
        (r"token 2  prefill  12 +float32\[\d+, 576\]", r"0-\S+ +0 to 3 +11 +2 ", r"vLLM drafts tokens here"),
    ),
    "lora": (
        ("until 3", "until sample@4", "info lanes", "continue"),
        (r"token 4  prefill  sample",),
    ),
    "own_loop": (
        ("until logits", "until sample", "until 12@1", "info lanes", "continue"),
        (r"token 0  prefill  logits +float32\[1, 49152\]", r"0 +a-\S+ +0 to 3 +20 +0", r"1 +b-\S+ +4 +1 +0"),
    ),
    "pooling": (
        ("until 12", "info lanes", "lane 1", "explain", "continue"),
        (r"0 +0-\S+ +0 to 3 +4 +0", r"LlamaDecoderLayer", r"The vector of \" is\" at position 4"),
    ),
    "beams": (
        ("until sample", "until 12@1", "info lanes", "continue"),
        (r"token 0  prefill  sample +int64\[1\]  chose 28", r"token 1  prefill  12 +float32\[15, 576\]"),
    ),
}


@pytest.mark.parametrize("script", TRIED)
def test_a_script_prints_the_same_stops_where_asked_and_ends(script: str, folder: str, tmp_path: Path) -> None:
    """Each in another way of using vLLM."""
    commands, expected = TRIED[script]
    said = debugged(script, folder, tmp_path, *commands)
    for each in expected:
        assert re.search(each, said), (each, said)
    assert "(the program has ended)" in said


@pytest.mark.parametrize(("script", "apart"), [("sampling", True), ("asynchronous", False)])
def test_an_engine_in_another_process_is_said(script: str, apart: bool, folder: str, tmp_path: Path) -> None:
    """With what to do, and the script's own output."""
    path, printed = str(_SCRIPTS / f"{script}.py"), tmp_path / "printed"
    options = ("--batch", "--program-output", str(printed), "-ex", "until 12")
    said = run("-m", "llmdbg", "run", *options, path, folder, apart=apart)
    what = "Set VLLM_ENABLE_V1_MULTIPROCESSING=0" if apart else "Use `LLM` or `LLMEngine` instead"
    assert "called no model in this process" in said and what in said
    assert "[28, 260, 2240" in printed.read_text()


def test_requests_in_turn_have_their_own_tokens(folder: str, tmp_path: Path) -> None:
    """Where each is alone in the engine."""
    look = ("until 12", "info stats", "until sample", "until 3@2", "info tokens", "until 3@5", "info tokens")
    said = debugged("in_turn", folder, tmp_path, *look, "continue")
    assert "float32[4, 576]" in said and 'chose 28 "," 92.7%' in said
    first, second = said.split('" France"')[0], said.split('"The"')[1]
    assert '" the"  generated 1' in first and '" Paris"  generated 0' in second


def test_several_requests_of_a_script_are_lanes(folder: str, tmp_path: Path) -> None:
    """Each has its rows, tokens and candidates, and keeps them when another has ended and rows have moved."""
    look = ("until 12", "info lanes", "lane 1", "info tokens", "until logits", "until 12@3", "info lanes", "continue")
    said = debugged("several", folder, tmp_path, *look)
    assert all(re.search(rf"{rows} +{prompt} +0 ", said) for rows, prompt in (("0 to 3", 4), ("4 to 8", 5)))
    assert "lane 1  float32[5, 576]" in said and '" France"' in said and '" Paris"' in said
    later = said.split("token 3")[1]
    assert re.search(r'1-\S+ +\d +5 +3 +" Paris', later) and re.search(r'2-\S+ +\d +5 +3 +"-digit', later)
