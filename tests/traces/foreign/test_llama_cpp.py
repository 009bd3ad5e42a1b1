"""Text as llama.cpp's eval callback prints it, made here of a live model's values in the format of its source."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.errors import TraceError
from llmdbg.traces.foreign.registry import import_dump, open_trace, recognise
from tests.debugger.comparison.sides import PROMPT
from tests.traces.foreign.dumps import IDS, against_live, model

_NAMES = {
    "input_layernorm": ("attn_norm", "MUL"),
    "self_attn.q_proj": ("Qcur", "MUL_MAT"),
    "self_attn.v_proj": ("Vcur", "MUL_MAT"),
    "self_attn.k_proj": ("Kcur", "MUL_MAT"),
    "self_attn": ("attn_out", "MUL_MAT"),
    "post_attention_layernorm": ("ffn_norm", "MUL"),
    "mlp.gate_proj": ("ffn_gate", "MUL_MAT"),
    "mlp.up_proj": ("ffn_up", "MUL_MAT"),
    "mlp": ("ffn_out", "MUL_MAT"),
    "": ("l_out", "ADD"),
}
_LOG = "0.00.977.389 I number of input tokens = 12\n" + "".join(f"0.00.977.410 I   {each}\n" for each in PROMPT)


def _tensor(name: str, op: str, values: torch.Tensor, kind: str = "f32") -> str:
    """A tensor as `common_debug_print_tensor` prints it: three at both ends of a dimension of more than six."""
    planes = values.reshape((1,) * (4 - values.dim()) + tuple(values.shape))
    sizes = ", ".join(str(each) for each in reversed(planes.shape))
    lines = [
        f"common_debug_cb_eval: {name:>24} = ({kind}) {op:>10}"
        f"(blk.0.a.weight{{32, 64, 1, 1}}, b{{32, 12, 1, 1}}}}) = {{{sizes}}}"
    ]

    def ends(size: int) -> list[int | None]:
        return list(range(size)) if size <= 6 else [0, 1, 2, None, size - 3, size - 2, size - 1]

    for volume in planes:
        lines.append("    [")
        for at in ends(len(volume)):
            if at is None:
                lines.append("        ..., ")
                continue
            lines.append("        [")
            for row in ends(len(volume[at])):
                if row is None:
                    lines.append("            ..., ")
                    continue
                numbers = volume[at][row]
                texts = ["   ..." if each is None else f"{float(numbers[each]):12.4f}" for each in ends(len(numbers))]
                lines.append(f"            [{', '.join(texts)}  ],")
            lines.append("        ],")
        lines += ["    ]", f"    sum = {float(values.sum()):f}"]
    return "\n".join(lines) + "\n"


def printed(
    file: Path, fault: Callable[[PreTrainedModel], object] | None = None, *, log: str = _LOG, forwards: int = 1
) -> Path:
    """The text of a forward of the tiny model."""
    found, texts = model(fault), list[str]()

    def hook(name: str, op: str) -> Callable[..., None]:
        def ended(_module: object, _args: object, output: object) -> None:
            value = output[0] if isinstance(output, tuple) else output
            assert isinstance(value, torch.Tensor)
            texts.append(_tensor(name, op, value[0]))
            if name.startswith("Qcur"):
                texts.append(_tensor(name, "RESHAPE", value[0].reshape(-1, 4, 8)))
                texts.append(_tensor(f"{name} (view)", "VIEW", value[0]))

        return ended

    found.model.embed_tokens.register_forward_hook(hook("embd", "GET_ROWS"))
    for number, layer in enumerate(found.model.layers):
        for path, (name, op) in _NAMES.items():
            layer.get_submodule(path).register_forward_hook(hook(f"{name}-{number}", op))
    found.lm_head.register_forward_hook(
        lambda _m, _i, out: texts.append(_tensor("result_output", "MUL_MAT", out[0, -1:]))
    )
    with torch.no_grad():
        for _ in range(forwards):
            found(input_ids=IDS)
    texts.insert(
        1, "common_debug_cb_eval:                   q_cur = (q8_0)        CPY(a{32, 1, 1, 1}, }) = {32, 1, 1, 1}\n"
    )
    file.write_text(log + "".join(texts))
    return file


def test_the_stages_are_the_live_models(tmp_path: Path) -> None:
    trace = open_trace(printed(tmp_path / "log.txt"))
    assert trace.header.prompt.ids == PROMPT
    assert any("corners" in each for each in trace.header.notes)
    names = {each.address for each in trace.stages(0)}
    assert {"embed", "0", "1.self_attn.q_proj", "1.mlp.up_proj", "1.mlp", "logits"} <= names
    assert {"0.Qcur.reshape", "Qcur-0 (view)", "q_cur"} <= names
    record = trace.stage(0, "1.mlp.gate_proj")
    assert record is not None and record.statistics is not None and record.sketch is None and record.hash is None
    assert record.shape == (12, 64) and record.dtype == "float32"
    assert math.isnan(record.statistics.norm) and math.isfinite(record.statistics.mean)
    found = against_live(trace)
    assert found.findings == ()
    assert {"embed", "1.self_attn.q_proj", "1", "logits"} <= {each.address for each in found.stages}


def test_a_gross_fault_shows(tmp_path: Path) -> None:
    def fault(wrong: PreTrainedModel) -> None:
        wrong.model.layers[1].mlp.up_proj.weight.data += 0.1

    found = against_live(printed(tmp_path / "log.txt", fault))
    assert found.first is not None and found.first.address == "1.mlp.up_proj"


def test_a_small_tensor_is_known_as_a_whole(tmp_path: Path) -> None:
    values = torch.tensor([[1.0, -2.0, 0.5], [4.0, 0.25, 3.0]])
    (tmp_path / "log.txt").write_text(_tensor("l_out-0", "ADD", values))
    trace = open_trace(tmp_path / "log.txt")
    record = trace.stage(0, "0")
    assert record is not None and record.statistics is not None
    assert (record.statistics.min, record.statistics.max) == (-2.0, 4.0)
    assert record.statistics.norm == pytest.approx(float(values.norm()), rel=1e-6)
    assert trace.header.prompt.ids == ()


def test_forwards_are_told_apart(tmp_path: Path) -> None:
    trace = open_trace(printed(tmp_path / "log.txt", forwards=2))
    assert len(trace.tokens) == 2
    assert [each.address for each in trace.stages(1)].count("1.mlp") == 1


def test_the_name_that_earlier_versions_print(tmp_path: Path) -> None:
    text = printed(tmp_path / "log.txt").read_text().replace("common_debug_cb_eval", "ggml_debug")
    (tmp_path / "old.txt").write_text(text)
    assert open_trace(tmp_path / "old.txt").stage(0, "1.mlp") is not None


def test_a_nan_is_told(tmp_path: Path) -> None:
    def fault(wrong: PreTrainedModel) -> None:
        wrong.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")

    found = against_live(printed(tmp_path / "log.txt", fault))
    assert found.first is not None and found.first.address == "1.mlp.up_proj"


def test_odd_text_is_refused_or_left_out(tmp_path: Path) -> None:
    text = printed(tmp_path / "log.txt").read_text()
    (tmp_path / "log.txt").write_text(text.replace("{64, 12, 1, 1}", "{999999999999, 999999999999, 9, 9}"))
    with pytest.raises(TraceError, match=r"log.txt is damaged in line \d+: its sizes"):
        import_dump(tmp_path / "log.txt", tmp_path / "run")
    (tmp_path / "odd.txt").write_bytes(
        text[:3000].encode() + b"\xff" * 100_000 + b"[" * 100_000 + b"\n    sum = 1e99999\n"
    )
    assert import_dump(tmp_path / "odd.txt", tmp_path / "odd").stages(0)
    (tmp_path / "none.txt").write_text("ggml_debug: nothing\n")
    assert recognise(tmp_path / "none.txt") is None
