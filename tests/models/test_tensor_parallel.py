"""What ranks cannot do is refused in a line, before anything is loaded."""

import pytest
from transformers import LlamaConfig

from llmdbg.errors import ModelRequestError, UsageError
from llmdbg.models.launched_rank import LaunchedRank, launched_rank
from llmdbg.models.spec import ModelSpec
from llmdbg.models.tensor_parallel import check_plan, check_request, device_of
from tests.tiny import ARCHITECTURES

PLACE = LaunchedRank(1, 4, 1, 0)
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "GROUP_RANK": "0", "MASTER_ADDR": "localhost"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ModelSpec("m", quantize="4bit"), "--quantize is not supported on 4 ranks"),
        (ModelSpec("m", random_weights=True), "--random-weights is not supported on 4 ranks"),
        (ModelSpec("m", engine="vllm"), "--engine vllm makes ranks of its own: start it without torchrun"),
        (ModelSpec("m", device="cuda:1"), "each of the 4 ranks takes a GPU of its own"),
        (ModelSpec("m.gguf"), "a .gguf file cannot be split over 4 ranks"),
    ],
)
def test_a_request_that_ranks_cannot_meet(spec: ModelSpec, words: str):
    with pytest.raises(ModelRequestError, match=words):
        check_request(spec, PLACE)


def test_a_model_without_a_plan_and_heads_that_cannot_be_shared():
    with pytest.raises(ModelRequestError, match="no tensor-parallel plan for tiny"):
        check_plan("tiny", ARCHITECTURES["gpt2"](), PLACE)
    with pytest.raises(ModelRequestError, match="2 key/value heads, which 4 ranks cannot share evenly: use 2 ranks"):
        check_plan("tiny", ARCHITECTURES["llama"](), PLACE)
    with pytest.raises(ModelRequestError, match=r"12 attention heads, .* cannot share evenly: use 2 or 4 ranks"):
        check_plan(
            "tiny", LlamaConfig(hidden_size=24, num_attention_heads=12, num_key_value_heads=8), LaunchedRank(0, 8, 0, 0)
        )
    with pytest.raises(ModelRequestError, match=r"9 attention heads, .* cannot share evenly: use one process"):
        check_plan(
            "tiny", LlamaConfig(hidden_size=18, num_attention_heads=9, num_key_value_heads=1), LaunchedRank(0, 2, 0, 0)
        )
    check_plan("tiny", ARCHITECTURES["phi3"](), PLACE)
    check_plan("tiny", ARCHITECTURES["llama"](), LaunchedRank(0, 2, 0, 0))


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelRequestError, match="no CUDA device here"):
        device_of(ModelSpec("m", device="cuda"), PLACE)
    assert device_of(ModelSpec("m"), PLACE).type == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ModelRequestError, match="1 GPUs, too few for rank 1"):
        device_of(ModelSpec("m"), PLACE)


def test_which_rank_this_is():
    assert launched_rank({}) is None
    assert launched_rank({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) is None
    assert launched_rank(TORCHRUN) == LaunchedRank(1, 2, 1, 0)
    with pytest.raises(UsageError, match="RANK is 5 and WORLD_SIZE 2"):
        launched_rank({**TORCHRUN, "RANK": "5"})
    with pytest.raises(UsageError, match="must be numbers"):
        launched_rank({**TORCHRUN, "RANK": "one"})
