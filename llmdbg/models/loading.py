"""From the user's request to a model that is ready to run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from llmdbg.errors import ModelRequestError
from llmdbg.formatting import with_article
from llmdbg.models.adapters import find_adapter
from llmdbg.models.compiled import notes_on_compiled
from llmdbg.models.configurations import load_config
from llmdbg.models.devices import choose_device, require_attention, require_quantization
from llmdbg.models.engines import require_transformers
from llmdbg.models.generation_files import check_generation_config
from llmdbg.models.load_steps import LoadStep
from llmdbg.models.sources import download_weights, find_source
from llmdbg.models.spec import LoadedModel, LoadingFacts, LoadProgress, ModelSpec, ProgressCallback, WeightDifferences
from llmdbg.models.tensor_parallel import check_plan, check_request, device_of
from llmdbg.models.tokenizer_files import load_tokenizer
from llmdbg.models.weights import load_weights, random_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from llmdbg.models.launched_rank import LaunchedRank
    from llmdbg.models.sources import ModelSource


TokenizerCallback = Callable[["PreTrainedTokenizerBase | None", "PretrainedConfig"], None]
"""Gets the tokenizer, None for none, and the model's configuration."""


def load(
    spec: ModelSpec,
    progress: ProgressCallback | None = None,
    on_tokenizer: TokenizerCallback | None = None,
    place: LaunchedRank | None = None,
) -> LoadedModel:
    """Load a model with its tokenizer, in eval mode and on its device. `progress` gets each stage and its bytes.

    `on_tokenizer` is called as soon as the tokenizer is read, before the weights; what it raises ends the loading.
    With a `place`, only that rank's part of the weights is loaded; the ranks have found each other by then.
    Everything that is bound to fail is reported before anything large is read or downloaded. Raises ModelRequestError
    for a request that cannot be met, and LoadError, HubUnreachableError, DamagedFileError or OutOfMemoryError for what
    went wrong.
    """
    report = progress or _ignore
    require_transformers(spec)
    report(LoadProgress(LoadStep.MODEL, 0, None))
    if place is not None:
        check_request(spec, place)
    device = choose_device(spec.device) if place is None else device_of(spec, place)
    require_attention(spec.attn, device)
    require_quantization(spec.quantize, device)
    if spec.quantize is not None and spec.random_weights:
        raise ModelRequestError("--quantize needs real weights: leave out --quantize or --random-weights")
    source = find_source(spec, report)
    # A GGUF file is named by itself, and so is not what else lies in its folder.
    apart = source.gguf is not None or spec.random_weights
    adapters = (source.adapter or source).folder
    whole = not (source.adapter or source).on_hub
    adapter = None if apart else find_adapter(adapters, allow_pickle=spec.allow_pickle, whole=whole)
    config = load_config(source, trust_remote_code=spec.trust_remote_code)
    if place is not None:
        check_plan(source.name, config, place)
        if adapter is not None:
            raise ModelRequestError(f"an adapter is not supported on {place.size} ranks: merge it, or use one process")
    report(LoadProgress(LoadStep.TOKENIZER, 0, None))
    tokenizer = load_tokenizer(source, spec)
    if on_tokenizer is not None:
        on_tokenizer(tokenizer, config)
    report(LoadProgress(LoadStep.WEIGHTS, 0, None))
    if not spec.random_weights and source.gguf is None:
        check_generation_config(source.folder)
    if not spec.random_weights and (source.on_hub or not whole):
        download_weights(source, spec, report)
        adapter = find_adapter(adapters, allow_pickle=spec.allow_pickle)
    watch = _LoadTimer(report)
    notes: list[str] = []
    weights: WeightDifferences | None = None
    if spec.random_weights:
        model = random_model(source.name, spec, config, device, watch)
        notes.append("the weights are random, so what this model writes is meaningless")
    else:
        model, weights, notes = load_weights(source, spec, config, device, watch, adapter, place)
    seconds = watch.seconds_until_all_of(model)
    model.eval()
    files = () if spec.random_weights else _weight_files(source)
    loading = LoadingFacts(_bytes_of(model), seconds, _devices(model), made=spec.random_weights, files=files)
    return _described(source.name, model, tokenizer, notes, loading, weights)


def adopt(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> LoadedModel:
    """A model that somebody else has loaded, as it is: putting it in eval mode is left to the caller.

    Without a tokenizer, a prompt's bytes are its ids. Raises ModelRequestError for a model that cannot be stepped.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise ModelRequestError(
            f"the model is an encoder-decoder ({type(model).__name__}): llmdbg steps decoder-only models"
        )
    if not model.can_generate():
        raise ModelRequestError(
            f"{with_article(type(model).__name__)} does not generate text: give the model with its head"
        )
    # Where accelerate keeps weights elsewhere until they are needed, a meta tensor stands in their place.
    if getattr(model, "hf_device_map", None) is None and any(each.is_meta for each in model.parameters()):
        raise ModelRequestError("some of the model's weights are on the meta device, where nothing can be computed")
    path = str(getattr(model.config, "name_or_path", "") or type(model).__name__)
    return _described(Path(path).name if Path(path).is_dir() else path, model, tokenizer, (), None, None)


def _described(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    notes: Iterable[str],
    loading: LoadingFacts | None,
    weights: WeightDifferences | None,
) -> LoadedModel:
    return LoadedModel(
        name=name,
        model=model,
        tokenizer=tokenizer,
        attn=attention_of(model),
        notes=(*notes, *notes_on_compiled(model)),
        device=_devices(model),
        dtype=str(model.dtype).removeprefix("torch."),
        loading=loading,
        weights=weights,
    )


def attention_of(model: PreTrainedModel) -> str:
    """The attention implementation a model uses; `none` for a model without a choice of them.

    transformers has no public name for it; `tests/models/test_loading.py` fails when the private one is gone.
    """
    return str(getattr(model.config.get_text_config(decoder=True), "_attn_implementation", None) or "none")


class _LoadTimer:
    """Passes progress on, and times loading from the first bytes reported, since what comes before is imports."""

    def __init__(self, report: ProgressCallback) -> None:
        self._report = report
        self._began: float | None = None
        self._made = time.perf_counter()

    def __call__(self, progress: LoadProgress) -> None:
        """Pass a report on, and note when the first bytes arrive."""
        if self._began is None and progress.total:
            self._began = time.perf_counter()
        self._report(progress)

    def seconds_until_all_of(self, model: PreTrainedModel) -> float:
        """Seconds until now, after waiting for every copy to a GPU."""
        for device in {each.device for each in model.parameters() if each.device.type == "cuda"}:
            torch.cuda.synchronize(device)
        return time.perf_counter() - (self._made if self._began is None else self._began)


def _weight_files(source: ModelSource) -> tuple[tuple[str, int], ...]:
    """The files that the weights are in, with their sizes."""
    if source.gguf is not None:
        return ((source.gguf.path.name, source.gguf.path.stat().st_size),)
    for pattern in ("model*.safetensors", "*.safetensors", "*.bin", "*.pt"):
        if found := sorted(source.folder.glob(pattern)):
            return tuple((each.name, each.stat().st_size) for each in found)
    return ()


def _bytes_of(model: PreTrainedModel) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _devices(model: PreTrainedModel) -> str:
    """The device, or all of them joined by +: `cuda:0`, `cuda:0+cpu`."""
    placed = getattr(model, "hf_device_map", None) or {"": model.device}
    names = dict.fromkeys(f"cuda:{each}" if isinstance(each, int) else str(each) for each in placed.values())
    return "+".join(names)


def _ignore(_progress: LoadProgress) -> None:
    return None
