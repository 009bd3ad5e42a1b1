"""From what the user asked for to a model that is ready to run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.errors import DamagedFileError, LoadError, ModelRequestError
from llmdbg.models.checkpoints import check_generation_config, has_tokenizer
from llmdbg.models.configurations import load_config
from llmdbg.models.devices import choose_device, require_attention, require_quantization
from llmdbg.models.sources import find_source
from llmdbg.models.spec import LoadedModel, LoadingFacts, LoadProgress, ModelSpec, ProgressCallback
from llmdbg.models.weights import load_weights, random_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from llmdbg.models.sources import ModelSource


def load(spec: ModelSpec, progress: ProgressCallback | None = None) -> LoadedModel:
    """Load the model in eval mode on its device, with its tokenizer. `progress` is told every stage and its bytes.

    What can be known to fail is found out before anything large is read. Raises ModelRequestError for what cannot be
    had (exit code 2) and LoadError, HubUnreachableError, DamagedFileError or OutOfMemoryError for what went wrong.
    """
    report = progress or _unheard
    report(LoadProgress("looking for the model", 0, None))
    device = choose_device(spec.device)
    require_attention(spec.attn, device)
    require_quantization(spec.quantize, device)
    if spec.quantize is not None and spec.random_weights:
        raise ModelRequestError("--quantize needs real weights: leave out --quantize or --random-weights")
    source = find_source(spec, report)
    config = load_config(source, trust_remote_code=spec.trust_remote_code)
    tokenizer, notes = _load_tokenizer(source, spec)
    watch = _LoadTimer(report)
    if spec.random_weights:
        model = random_model(source.name, spec, config, device, watch)
        notes.append("the weights are random: what this model writes means nothing")
    else:
        if source.gguf is None:
            check_generation_config(source.folder)
        model, more = load_weights(source, spec, config, device, watch)
        notes += more
    seconds = watch.seconds_until_all_of(model)
    model.eval()
    return LoadedModel(
        name=source.name,
        model=model,
        tokenizer=tokenizer,
        attn=attention_of(model),
        notes=tuple(notes),
        device=_devices(model),
        dtype=str(model.dtype).removeprefix("torch."),
        loading=LoadingFacts(_bytes_of(model), seconds, _devices(model), made=spec.random_weights),
    )


def attention_of(model: PreTrainedModel) -> str:
    """The attention implementation a model settled on; `none` where it has no attention to choose.

    Transformers offers no public name to read it; `tests/models/test_loading.py` names this one.
    """
    return str(getattr(model.config.get_text_config(decoder=True), "_attn_implementation", None) or "none")


def _load_tokenizer(source: ModelSource, spec: ModelSpec) -> tuple[PreTrainedTokenizerBase | None, list[str]]:
    from transformers import AutoTokenizer

    if source.gguf is None and not has_tokenizer(source.folder):
        if spec.random_weights:
            return None, []
        raise LoadError(
            f"{source.folder} has no tokenizer (no tokenizer.json or tokenizer.model): fetch the tokenizer's files"
        )
    files: dict[str, Any] = {} if source.gguf is None else {"gguf_file": source.gguf.path.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=spec.trust_remote_code, **files)
    except Exception as error:  # a tokenizer's files may make its class trip over anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if "trust_remote_code" in reason:
            raise ModelRequestError(
                f"the tokenizer of {source.name} brings Python code of its own: add --trust-remote-code if you trust it"
            ) from error
        raise DamagedFileError(
            f"the tokenizer of {source.name} cannot be read ({reason}): {_remedy(source)}"
        ) from error
    return tokenizer, []


def _remedy(source: ModelSource) -> str:
    versioned = sorted(source.folder.glob("tokenizer.model.v*"))
    if versioned and not (source.folder / "tokenizer.model").exists():
        return f"transformers reads {versioned[-1].name} only under the name tokenizer.model, so copy it to that"
    return "fetch it again"


class _LoadTimer:
    """Passes progress on, and times the weights from the first bytes reported: what comes before is imports."""

    def __init__(self, report: ProgressCallback) -> None:
        self._report = report
        self._began: float | None = None
        self._made = time.perf_counter()

    def __call__(self, progress: LoadProgress) -> None:
        """Pass it on."""
        if self._began is None and progress.total:
            self._began = time.perf_counter()
        self._report(progress)

    def seconds_until_all_of(self, model: PreTrainedModel) -> float:
        """The seconds until now, when every copy to a GPU has arrived."""
        for device in {each.device for each in model.parameters() if each.device.type == "cuda"}:
            torch.cuda.synchronize(device)
        return time.perf_counter() - (self._made if self._began is None else self._began)


def _bytes_of(model: PreTrainedModel) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _devices(model: PreTrainedModel) -> str:
    """The device, or all of them: `cuda:0`, `cuda:0+cpu`."""
    placed = getattr(model, "hf_device_map", None) or {"": model.device}
    names = dict.fromkeys(f"cuda:{each}" if isinstance(each, int) else str(each) for each in placed.values())
    return "+".join(names)


def _unheard(_progress: LoadProgress) -> None:
    return None
