"""llmdbg.Recorder: somebody's own loop over somebody's own module tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import llmdbg
from llmdbg.errors import UsageError
from llmdbg.models.stages import Phase
from llmdbg.traces.reader import Trace
from tests.recordings import record, tiny_generation
from tests.tiny import REQUIRED, tiny_model

_IDS = torch.tensor([list(b"Hello there")])


def _loop(model: Any, recorder: llmdbg.Recorder | None = None, tokens: int = 4) -> list[torch.Tensor]:
    """Greedy decoding as somebody might write it."""
    ids, cache, every = _IDS, None, []
    with torch.no_grad():
        for _ in range(tokens):
            out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            every.append(out.logits[0, -1].clone())
            ids = out.logits[:, -1:].argmax(-1)
            if recorder is not None:
                recorder.token(int(ids), out.logits[0, -1])
            # A sampler that writes into what it got.
            out.logits.mul_(0)
    return every


@pytest.mark.parametrize("name", sorted(set(REQUIRED) - {"mamba"}))
def test_a_loop_of_ones_own_leaves_what_generate_leaves(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    clean = _loop(tiny_model(name))
    with llmdbg.Recorder(model, tmp_path / "own") as recorder:
        assert all(map(torch.equal, _loop(model, recorder), clean))
    assert recorder.forwards == 4 and not any(
        each._forward_hooks or each._forward_pre_hooks for each in model.modules()
    )
    own, theirs = Trace.open(tmp_path / "own"), record(tiny_generation(name, greedy=True), tmp_path / "theirs")
    assert [each.id for each in own.tokens] == [each.id for each in theirs.tokens]
    assert [each.phase for each in own.tokens] == [Phase.PREFILL, *[Phase.DECODE] * 3]
    for token in range(4):
        one = {each.address: each.hash for each in own.stages(token)}
        other = {each.address: each.hash for each in theirs.stages(token)}
        assert one == {address: hash for address, hash in other.items() if address in one}
        assert other.keys() - one.keys() == {"tokenize", "sample"} - ({"tokenize"} if token else set())
    assert own.tokens[1].prob == pytest.approx(theirs.tokens[1].prob, rel=1e-6)
    assert own.header.prompt.ids == tuple(b"Hello there")


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, hidden: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mlp(self.norm(hidden + residual)), residual


class _Flat(nn.Module):
    """Like vLLM's models: no getters, no batch dimension, two values out of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(32, 8)
        self.layers = nn.ModuleList(_Block() for _ in range(3))
        self.norm = nn.LayerNorm(8)

    def get_input_embeddings(self, ids: torch.Tensor) -> torch.Tensor:
        raise AssertionError("called without its argument")

    def forward(self, input_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        hidden = self.embed_tokens(input_ids)
        residual = torch.zeros_like(hidden)
        for layer in self.layers:
            hidden, residual = layer(hidden, residual)
        found: torch.Tensor = self.norm(hidden)
        return found


def test_any_module_tree(tmp_path: Path) -> None:
    model = _Flat()
    with torch.inference_mode(), llmdbg.Recorder(model, tmp_path / "run", tensors="1.mlp", name="flat") as recorder:
        model(input_ids=torch.arange(5), positions=torch.arange(5))
        recorder.token(7)
        model(input_ids=torch.tensor([7]), positions=torch.tensor([5]))
        model(input_ids=torch.tensor([9]), positions=torch.tensor([6]))
    trace = Trace.open(tmp_path / "run")
    assert [each.address for each in trace.stages(1)] == [
        "embed", *(f"{layer}{inner}" for layer in range(3) for inner in (".norm", ".mlp", "")), "norm"
    ]  # fmt: skip
    assert [each.id for each in trace.tokens] == [7, 9, None]
    assert trace.tokens[0].positions == (0, 1, 2, 3, 4) and trace.stage(0, "2").positions == 5
    kept = trace.tensor(0, "1.mlp")
    assert kept is not None and kept.shape == (5, 8) and trace.header.model == "flat"


def test_hooks_come_off_whatever_happens(tmp_path: Path) -> None:
    model = _Flat()
    with (
        pytest.raises(IndexError),
        llmdbg.Recorder(model, tmp_path / "run"),
        torch.no_grad(),
    ):
        model(input_ids=torch.arange(5), positions=torch.arange(5))
        model(input_ids=torch.tensor([99]), positions=torch.tensor([5]))
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
    trace = Trace.open(tmp_path / "run")
    assert [each.ended_by for each in trace.tokens] == [None, "error"] and len(trace.stages(0)) == 11


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stage is called '9'"):
        llmdbg.Recorder(_Flat(), tmp_path / "run", tensors="9")
    with (
        pytest.warns(UserWarning, match="no forward"),
        llmdbg.Recorder(_Flat(), tmp_path / "run") as recorder,
        pytest.raises(UsageError, match="latest forward"),
    ):
        recorder.token(3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="no empty folder"), llmdbg.Recorder(_Flat(), tmp_path / "full"):
        pass


def test_a_batch(tmp_path: Path) -> None:
    model = tiny_model("llama")
    with torch.no_grad(), llmdbg.Recorder(model, tmp_path / "run"):
        model(input_ids=_IDS.repeat(3, 1))
    trace = Trace.open(tmp_path / "run")
    found = trace.stage(0, "1.mlp")
    assert found.positions == 33 and found.shape == (3, 11, 32)
    hashes = found.position_hashes
    assert hashes is not None and (hashes[:11] == hashes[11:22]).all()
