"""A real vLLM engine is debugged in an environment of its own. `.ci/vllm` runs this.

LLMDBG_VLLM_PYTHON is the Python of an environment with vLLM, which wants another transformers than this one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llmdbg.cli import main
from llmdbg.models.demo import demo_folder

_PYTHON = os.environ.get("LLMDBG_VLLM_PYTHON", "")
_HOUSE = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not _PYTHON, reason="LLMDBG_VLLM_PYTHON names no Python with vLLM")


def run(*words: str) -> str:
    """What vLLM's Python prints."""
    environment = {**os.environ, "PYTHONPATH": str(_HOUSE)}
    done = subprocess.run([_PYTHON, *words], env=environment, timeout=1200, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder() -> str:
    """The demo model's folder."""
    return str(demo_folder(lambda _: None))


@pytest.fixture(scope="module")
def found(folder: str) -> dict[str, Any]:
    """What `drive_vllm.py` finds."""
    result: dict[str, Any] = json.loads(run(str(_HOUSE / "tests/engines/drive_vllm.py"), folder).splitlines()[-1])
    return result


def said(of: dict[str, list[str]], command: str, time: int = 0) -> str:
    """What a command said the `time`-th time."""
    answers = [answer for line, answer in of.items() if line.partition(" ")[2] == command]
    return "\n".join(answers[time])


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("which", ["", "hot "])
def test_suspended_at_every_stage_it_is_vllm_bit_for_bit(found: dict[str, Any], which: str) -> None:
    """Greedy, and with every step of the sampler."""
    ids, hashes = found[f"{which}untouched"]
    stepped = found[f"{which}stepped"]
    assert (stepped["ids"], stepped["hashes"]) == (ids, hashes)
    assert stepped["stages"].count("12.self_attn.attn") == len(ids) == 4
    assert found["after"] == found["untouched"][0]


def test_the_stages_are_what_they_are(found: dict[str, Any]) -> None:
    """One request's positions, in vLLM's own modules; the sampler's steps in its order."""
    shapes = found["stepped"]["shapes"]
    assert (shapes["embed"], shapes["12"], shapes["norm"][0]) == ([9, 576], [9, 576], 9)
    assert shapes["logits"] == [1, 49152]
    stages = found["hot stepped"]["stages"]
    first = stages[stages.index("logits_processor") : stages.index("sample") + 1]
    steps = ("repetition_penalty", "temperature", "min_p", "top_k_top_p")
    assert first == ["logits_processor", "logits", *(f"sample.{each}" for each in steps), "sample"]
    assert "lm_head" not in stages


def test_statistics_lens_edits_and_going_back(found: dict[str, Any]) -> None:
    """An edit changes the tokens, and going back brings vLLM's own."""
    greedy = found["greedy"]
    assert "float32[9, 576]" in said(greedy, "info stats") and "lens" in said(greedy, "info lens")
    own, edited, back = (said(greedy, "info tokens", time) for time in range(3))
    assert edited != own == back
    assert "equal bit by bit" in said(greedy, "verify")
    assert '" the"' in said(greedy, "info tokens", 3).splitlines()[-3]


def test_the_blocks_of_the_request_and_what_is_in_a_fused_projection(found: dict[str, Any]) -> None:
    """As vLLM's scheduler has given them, and as its own layer says."""
    assert "it takes its blocks back at its end" in said(found["greedy"], "info kv")
    assert "vLLM keeps the keys and values of positions 0 to 9 in 1 block" in said(found["greedy"], "info kv", 1)
    assert "vLLM's own kernels compute attention" in said(found["greedy"], "info attention")
    assert "q (576), k (192) and v (192) side by side" in said(found["greedy"], "explain")


def test_a_banned_token_is_not_chosen(found: dict[str, Any]) -> None:
    """In sampling, where vLLM has cut and before it draws."""
    assert '" said"' not in said(found["hot"], "info tokens")


HOW = ["-p", "Once upon a time", "-n", "4", "--greedy", "--dtype", "float32"]


def compared(capsys: pytest.CaptureFixture[str], *sides: str) -> dict[str, Any]:
    """What `llmdbg diff` finds: nothing, and which stages it has compared."""
    capsys.readouterr()
    code = main(["diff", *sides, *HOW, "--json", "-q"])
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (code, result["verdict"], result["findings"]) == (0, "same within the arithmetic", [])
    return result


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("tensors", ["none", "inputs"])
def test_a_recorded_vllm_run_is_the_same_as_transformers(
    tensors: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`llmdbg record --engine vllm`, and `llmdbg diff` in the other environment."""
    recorded = str(tmp_path / "run")
    run("-m", "llmdbg", "record", folder, "--engine", "vllm", *HOW, "--tensors", tensors, "-o", recorded)
    assert compared(capsys, folder, recorded)


@pytest.mark.timeout(1500)
def test_vllm_is_a_side_of_diff_under_its_own_python(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every stage is compared, in another process."""
    found = compared(capsys, folder, f"{folder} --engine vllm --python {_PYTHON}")
    held = {stage["address"] for stage in found["stages"] if stage["isolated"] is not None}
    assert {"embed", "0", "29", "norm", "12.mlp.down_proj", "12.self_attn.q_proj", "12.mlp.up_proj"} <= held


@pytest.mark.timeout(1500)
def test_vllm_stands_beside_a_run_of_transformers(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Said with its version and dtype, which are the model's own where none is given; near it in the run's."""
    beside = f"reference {folder} --engine vllm --python {_PYTHON}"
    commands = [beside, f"{beside} --dtype float32", "until 29@1", "until logits@1", "break diverged", "continue"]
    capsys.readouterr()
    assert main([folder, *HOW, "--batch", *(word for each in commands for word in ("-ex", each))]) == 0
    said, noted = capsys.readouterr()
    assert "vLLM 0.32.0, bfloat16 (this run is float32: `--dtype float32` behind the model" in said
    assert "vLLM 0.32.0, float32\n" in said
    distances = re.findall(r"(\S+) off the reference", said)
    assert len(distances) >= 2 and all(float(each) < 1e-5 for each in distances)
    assert "(diverged) was never hit" in noted
