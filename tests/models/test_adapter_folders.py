"""A folder with nothing but an adapter: its model is found, loaded, and adapted; compared with itself merged."""

from __future__ import annotations

import importlib.util
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from llmdbg import compare, open_session
from llmdbg.debugger.comparison.outcome import Comparison, Verdict
from llmdbg.errors import HubUnreachableError, ModelRequestError
from llmdbg.models.loading import load
from llmdbg.models.sources import source_at_hand
from tests.models.refusals import refusal, spec

TARGETS = ["q_proj", "down_proj"]


class Folders(NamedTuple):
    """Folders of a model, of an adapter for it, and a maker of folders with the adapter merged into the model."""

    base: Path
    adapter: Path
    merged: Callable[..., Path]
    tuned: nn.Module


@pytest.fixture
def folders(a_copy: Callable[..., Path], tmp_path: Path) -> Folders:
    base = a_copy("base")
    tuned = _tuned(base)
    tuned.save_pretrained(tmp_path / "adapter")

    def merged(scale: float = 1.0, dtype: torch.dtype = torch.float32, modules: int | None = None) -> Path:
        other = _tuned(base)
        for number, each in enumerate(each for each in other.modules() if hasattr(each, "get_delta_weight")):
            each.scaling["default"] *= scale if modules is None or number < modules else 1
        folder = tmp_path / f"merged-{scale}-{modules}"
        other.merge_and_unload().to(dtype).save_pretrained(folder)
        for file in base.glob("*token*"):
            shutil.copy(file, folder)
        return folder

    return Folders(base, tmp_path / "adapter", merged, tuned.eval())


def _tuned(base: Path) -> Any:
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT uses names that transformers deprecates
        config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS)
        tuned = peft.get_peft_model(load(spec(base)).model, config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, each in tuned.named_parameters():
            if "lora_" in name:
                each.normal_(0, 0.2)
    return tuned


def compared(reference: Path, candidate: Path) -> Comparison:
    return compare(str(reference), str(candidate), "The quick brown fox", max_new_tokens=2, greedy=True)


def test_the_adapter_runs_on_the_model_that_it_names(folders: Folders) -> None:
    loaded = load(spec(folders.adapter))
    assert loaded.name == "adapter on base"
    assert loaded.notes == ("the adapter (LORA, rank 2) is applied by PEFT",)
    assert loaded.weights is not None and loaded.weights.rows() == ()
    ids = torch.arange(10)[None]
    assert torch.equal(loaded.model(ids).logits, folders.tuned(ids).logits)
    with open_session(folders.adapter, "Hello", max_new_tokens=2, greedy=True) as session:
        session.do("break 1.self_attn.q_proj.lora_B.default")
        session.do("continue")
        session.do("delete")
        session.do("continue")
        assert session.do("verify").data.differs is None
    found = source_at_hand(str(folders.adapter))
    assert found is not None and (found.folder, found.name) == (folders.base, loaded.name)


def test_a_base_beside_the_adapter_and_a_tokenizer_of_its_own(folders: Folders, tmp_path: Path) -> None:
    _rename(folders.adapter, "../base")
    for file in folders.base.glob("*token*"):
        shutil.copy(file, folders.adapter)
    own = json.loads((folders.adapter / "tokenizer_config.json").read_text())
    (folders.adapter / "tokenizer_config.json").write_text(json.dumps({**own, "chat_template": "its own"}))
    loaded = load(spec(folders.adapter))
    assert loaded.tokenizer is not None and loaded.name == "adapter on base"
    found = source_at_hand(str(folders.adapter))
    assert found is not None and found.tokenizer_folder == folders.adapter


@pytest.mark.parametrize(
    ("base", "kind", "said"),
    [
        ("/nowhere/at/all", ModelRequestError, "is an adapter for '/nowhere/at/all', which cannot be had: there is no"),
        ("some/base", HubUnreachableError, "is an adapter for 'some/base', which cannot be had: some/base is not in"),
        (None, ModelRequestError, "is an adapter for a model that it does not name: write the model's folder"),
        (".", ModelRequestError, "which is no folder of a whole model: correct base_model_name_or_path"),
    ],
)
def test_a_base_that_is_missing_is_one_line(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, base: str | None, kind: type, said: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _rename(folders.adapter, base)
    assert said in refusal(folders.adapter, kind)


def test_without_peft_what_to_do_is_said(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert "run `pip install peft`, or name the base model" in refusal(folders.adapter, ModelRequestError)


def _rename(adapter: Path, base: str | None) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": base}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_and_unmerged_are_the_same_within_the_arithmetic(folders: Folders, dtype: torch.dtype) -> None:
    merged = folders.merged(dtype=dtype)
    for pair in ((folders.adapter, merged), (merged, folders.adapter)):
        found = compared(*pair)
        assert found.verdict is Verdict.WITHIN_ARITHMETIC, found.findings
        assert not any("counterpart" in note for note in found.notes)


def test_a_wrong_scale_is_named_at_every_module_that_has_it(folders: Folders) -> None:
    found = compared(folders.adapter, folders.merged(scale=2.0, modules=3))
    assert found.verdict is Verdict.DIVERGED
    assert [each.address for each in found.findings] == ["0.self_attn.q_proj", "0.mlp.down_proj", "1.self_attn.q_proj"]
    said = "what the adapter adds to its weight is 2 times what it adds to the reference's: another scale"
    assert {each.sentence for each in found.findings} == {said}
    (back,) = {each.sentence for each in compared(folders.merged(scale=0.5), folders.adapter).findings}
    assert "is 2 times" in back


def test_a_missing_adapter_is_named(folders: Folders) -> None:
    found = compared(folders.adapter, folders.base)
    assert {each.sentence for each in found.findings} == {"its weight is the base's: the adapter is missing"}
    found = compared(folders.base, folders.adapter)
    assert "has an adapter added to it" in found.findings[0].sentence
