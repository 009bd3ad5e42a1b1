"""Recordings are compared with live models and with each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.comparing_recorded import compare_recordings, compare_with_recording
from llmdbg.debugger.comparison.outcome import Comparison, FindingKind, Verdict
from llmdbg.debugger.comparison.side import LiveSide
from llmdbg.traces.reader import Trace
from tests.debugger.comparison.recordings import recorded
from tests.debugger.comparison.sides import PROMPT, faulty, side
from tests.debugger.comparison.test_mapping import fused, split  # noqa: F401 - fixtures
from tests.tiny import tiny_model

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def _nothing(_: PreTrainedModel) -> None:
    return None


def _eager(model: PreTrainedModel) -> None:
    model.set_attn_implementation("eager")


def _scale(model: PreTrainedModel) -> None:
    model.model.layers[1].self_attn.scaling *= 1.2


def _activation(model: PreTrainedModel) -> None:
    model.model.layers[0].mlp.act_fn = torch.nn.GELU()


def _weight(model: PreTrainedModel) -> None:
    model.model.layers[1].self_attn.k_proj.weight.data[3, 4] += 0.5


def _held(trace: Trace, live: LiveSide, *, live_is_reference: bool = True) -> Comparison:
    return compare_with_recording(trace, live, lambda _: None, {}, live_is_reference=live_is_reference)


@BOTH
@pytest.mark.parametrize("tensors", ["none", "all", "inputs"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3_moe", "mamba"])
def test_a_recording_of_the_model_is_the_same(name: str, tensors: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Whatever was kept, and in another dtype within the arithmetic."""
    model = tiny_model(name)
    found = _held(recorded(side(faulty(model, _nothing, dtype)), tmp_path / "run", tensors), side(model))
    assert found.findings == ()
    assert found.verdict is (Verdict.SAME if dtype == torch.float32 else Verdict.WITHIN_ARITHMETIC)


@BOTH
def test_another_kernel_is_no_fault(dtype: torch.dtype, tmp_path: Path) -> None:
    """Nor in a recording."""
    model = tiny_model("llama")
    for tensors in ("none", "inputs"):
        trace = recorded(side(faulty(model, _eager, dtype)), tmp_path / tensors, tensors)
        assert _held(trace, side(model)).findings == ()


@BOTH
@pytest.mark.parametrize(
    ("fault", "address"),
    [(_scale, "1.self_attn"), (_activation, "0.mlp.act_fn"), (_weight, "1.self_attn.k_proj")],
)
def test_a_fault_in_a_recording_is_named(fault: object, address: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """On the recorded inputs, by the stage itself."""
    model = tiny_model("llama")
    trace = recorded(side(faulty(model, fault, dtype)), tmp_path / "run", "inputs")  # type: ignore[arg-type]
    found = _held(trace, side(model))
    assert found.first is not None
    assert found.first.address == address
    assert found.first.times_floor is not None
    assert found.first.times_floor > 8


def _infinite(model: PreTrainedModel) -> None:
    mlp = model.model.layers[1].mlp
    forward = mlp.act_fn.forward

    def overflowing(hidden: torch.Tensor) -> torch.Tensor:
        out = forward(hidden).clone()
        out[..., 0] = torch.inf
        return out

    mlp.act_fn.forward = overflowing


@pytest.mark.parametrize("tensors", ["none", "inputs"])
def test_values_that_are_not_finite_are_the_candidate_s_fault(tensors: str, tmp_path: Path) -> None:
    """In the recording, or in the live model, whichever is the candidate."""
    model = tiny_model("llama")
    found = _held(recorded(side(faulty(model, _infinite)), tmp_path / "bad", tensors), side(model))
    assert found.first is not None
    assert (found.first.address, found.first.kind) == ("1.mlp.act_fn", FindingKind.NONFINITE)
    trace = recorded(side(model), tmp_path / "good", tensors)
    found = _held(trace, side(faulty(model, _infinite)), live_is_reference=False)
    assert found.first is not None
    assert (found.first.address, found.first.kind) == ("1.mlp.act_fn", FindingKind.NONFINITE)


def test_without_room_for_float64_a_recording_is_held_against_the_model_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a note says so."""
    model = tiny_model("llama")
    trace = recorded(side(faulty(model, _scale)), tmp_path / "run", "inputs")
    monkeypatch.setattr("llmdbg.debugger.comparison.variants.available", lambda _: 1_000)
    found = _held(trace, side(model))
    assert found.first is not None
    assert found.first.address == "1.self_attn"
    assert any("a copy of the model in float64 needs" in note for note in found.notes)


def test_the_recording_may_be_the_reference(tmp_path: Path) -> None:
    """Then the live model is the one that is wrong."""
    model = tiny_model("llama")
    trace = recorded(side(model), tmp_path / "run", "inputs")
    found = _held(trace, side(faulty(model, _scale)), live_is_reference=False)
    assert found.first is not None
    assert found.first.address == "1.self_attn"
    assert "recorded" in found.reference.place


def test_without_tensors_the_first_stage_beyond_rounding_is_named(tmp_path: Path) -> None:
    """By the sketches, against further runs of the live model."""
    model = tiny_model("llama")
    found = _held(recorded(side(faulty(model, _activation)), tmp_path / "run"), side(model))
    assert [each.address for each in found.findings] == ["0.mlp.act_fn"]
    assert any("--tensors inputs" in note for note in found.notes)


def test_two_recordings_are_compared_without_a_model(tmp_path: Path) -> None:
    """The same, other weights, and another function."""
    model = tiny_model("llama")
    reference = recorded(side(model), tmp_path / "reference")
    assert compare_recordings(reference, recorded(side(model), tmp_path / "same")).verdict is Verdict.SAME
    other = compare_recordings(reference, recorded(side(faulty(model, _weight)), tmp_path / "weight"))
    assert [(each.kind, each.address) for each in other.findings] == [(FindingKind.WEIGHTS, "1.self_attn.k_proj")]
    other = compare_recordings(reference, recorded(side(faulty(model, _activation)), tmp_path / "function"))
    assert [each.address for each in other.findings] == ["0.mlp.act_fn"]


def test_another_input_of_a_recording_is_named_first(tmp_path: Path) -> None:
    """The stages are compared on the recorded input."""
    model = tiny_model("llama")
    trace = recorded(side(model, (PROMPT[0], *PROMPT)), tmp_path / "run", "inputs")
    found = _held(trace, side(model))
    assert [each.kind for each in found.findings] == [FindingKind.INPUT]
    assert any("on the recorded input" in note for note in found.notes)


def test_a_fused_recording_is_held_against_a_split_model(
    fused: PreTrainedModel,  # noqa: F811
    split: PreTrainedModel,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Without the recording's weights, by the widths of what was returned; the finding has the recording's name."""
    assert _held(recorded(side(fused), tmp_path / "same", "inputs"), side(split)).findings == ()
    bad = faulty(fused, lambda model: model.model.layers[1].self_attn.qkv_proj.weight.data[3].mul_(1.5))
    found = _held(recorded(side(bad), tmp_path / "bad", "inputs"), side(split))
    assert found.first is not None
    assert found.first.address == "1.self_attn.qkv_proj"
