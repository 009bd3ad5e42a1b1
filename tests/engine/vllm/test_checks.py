"""What vLLM would not do here is refused in a line that says what to do, before anything heavy is imported."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from llmdbg.cli import main
from llmdbg.engine.vllm import checks
from llmdbg.errors import ModelRequestError
from llmdbg.models.spec import ModelSpec


def engine(**changed):
    settings = {
        "parallel_config": SimpleNamespace(world_size=1),
        "model_config": SimpleNamespace(enforce_eager=True),
        "compilation_config": SimpleNamespace(mode=0),
        "scheduler_config": SimpleNamespace(async_scheduling=False),
    }
    executor = changed.pop("model_executor", object())
    return SimpleNamespace(
        llm_engine=SimpleNamespace(model_executor=executor, vllm_config=SimpleNamespace(**settings | changed))
    )


def test_an_engine_in_this_process_and_eager_is_taken():
    checks.check_engine(engine())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_executor": None}, "VLLM_ENABLE_V1_MULTIPROCESSING=0"),
        ({"parallel_config": SimpleNamespace(world_size=2)}, "tensor_parallel_size=1"),
        ({"model_config": SimpleNamespace(enforce_eager=False)}, "enforce_eager=True"),
        ({"compilation_config": SimpleNamespace(mode=3)}, "enforce_eager=True"),
        ({"scheduler_config": SimpleNamespace(async_scheduling=True)}, "async_scheduling=False"),
    ],
)
def test_another_is_refused_with_what_to_set(changed, said):
    with pytest.raises(ModelRequestError, match=said):
        checks.check_engine(engine(**changed))


def test_options_of_transformers_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: object())
    with pytest.raises(ModelRequestError, match=r"leave out --attn and --quantize"):
        checks.check_request(ModelSpec("m", engine="vllm", attn="eager", quantize="4bit"))
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    with pytest.raises(ModelRequestError, match="set VLLM_ENABLE_V1_MULTIPROCESSING=0"):
        checks.check_request(ModelSpec("m", engine="vllm"))


def test_without_vllm_a_line_says_where_to_read_on(capsys, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    assert main(["no/model", "--engine", "vllm", "-p", "Hi", "--batch"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "docs/vllm.md" in line and "vllm 0.32.0" in line


def test_a_side_of_diff_is_to_be_recorded_first(capsys):
    assert main(["diff", "no/model", "no/model --engine vllm", "-p", "Hi"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert "llmdbg record MODEL --engine vllm" in line


def test_nothing_heavy_is_imported_to_refuse():
    code = (
        "import sys\nfrom llmdbg.cli import main\n"
        "main(['m', '--engine', 'vllm', '-p', 'Hi', '--batch', '--attn', 'eager'])\n"
        "sys.exit(bool({'torch', 'transformers', 'vllm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "leave out --attn" in done.stderr
