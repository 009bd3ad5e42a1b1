"""The model inside a vLLM engine, with what is asked of any model: embeddings, head, decoder and configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from llmdbg.formatting import counted
from llmdbg.models.anatomy import Anatomy, dissect
from llmdbg.models.stages import Stage, StageKind

_HEAD = "lm_head"
_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "embedding", "tok_embeddings")


class ServedModel(nn.Module):
    """A vLLM model: the same modules and weights under the same names, and nothing of its own.

    `model` is vLLM's, `config` and `generation_config` are transformers'. Calling it is not meant: vLLM does that. Its
    class has the name of vLLM's (`served`). If it does not score, it has no head.
    """

    _projection: _Projection

    def __init__(self, model: nn.Module, config: Any, generation_config: Any, *, scores: bool) -> None:
        super().__init__()
        self.config, self.generation_config = config, generation_config
        for name, module in model.named_children():
            self.add_module(name, module)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        # Past nn.Module, which would take it for one more module of the tree.
        object.__setattr__(self, "_projection", _Projection(_head_of(model) if scores else None, _vocabulary(config)))
        self.eval()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def get_decoder(self) -> nn.Module:
        """The module with the layers: vLLM's models name it as transformers' do."""
        return next((each for name, each in self.named_children() if name in ("model", "transformer")), self)

    def get_input_embeddings(self) -> nn.Module:
        """The table of embeddings. Raises LookupError if there is none."""
        for wanted in _EMBEDDINGS:
            for path, module in self.named_modules():
                weight: Any = getattr(module, "weight", None)
                if path.rpartition(".")[2] == wanted and isinstance(weight, Tensor):
                    return cast(nn.Module, module)
        raise LookupError("no module of this model is an embedding")

    def get_output_embeddings(self) -> nn.Module | None:
        """What turns the residual stream into scores; None if there is no head."""
        return None if self._projection.head is None else self._projection

    def num_parameters(self) -> int:
        """How many numbers the weights are."""
        return sum(each.numel() for each in self.parameters())


def served(model: nn.Module, config: Any, generation_config: Any, *, scores: bool = True) -> ServedModel:
    """A vLLM model as llmdbg asks for it, of a class with the same name; one that embeds texts, say, does not score."""
    kind = type(type(model).__name__, (ServedModel,), {"__doc__": type(model).__doc__})
    found: ServedModel = kind(model, config, generation_config, scores=scores)
    return found


def attention_backend(model: ServedModel) -> str:
    """The class of vLLM's attention backend."""
    for module in model.modules():
        if (backend := getattr(module, "attn_backend", None)) is not None:
            return str(getattr(backend, "__name__", backend))
    return "none"


def notes_on_weights(model: ServedModel) -> list[str]:
    """A sentence where vLLM has packed weights, which leaves none where they were."""
    packed = [each for each in model.modules() if hasattr(each, "quant_method") and _is_packed(each)]
    if not packed:
        return []
    return [
        f"vLLM keeps the weights of {counted(len(packed), 'projection')} packed for this processor, where they cannot "
        "be read: numbers of weights leave them out"
    ]


def _is_packed(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.numel() == 0


class _Projection(nn.Module):
    """vLLM's head has no forward: its weights are applied by the logits processor. This applies them alike."""

    head: nn.Module | None

    def __init__(self, head: nn.Module | None, vocabulary: int) -> None:
        super().__init__()
        # Past nn.Module: a projection is no container.
        object.__setattr__(self, "head", head)
        self.out_features = vocabulary

    @property
    def weight(self) -> Any:
        """The head's weights (vocabulary or more, width)."""
        return cast(Any, self).head.weight

    @property
    def bias(self) -> Any:
        """The head's bias; None without one."""
        return getattr(cast(Any, self).head, "bias", None)

    @property
    def in_features(self) -> int:
        """The width of the residual stream."""
        return int(self.weight.shape[-1])

    def forward(self, hidden: Tensor) -> Tensor:
        """The scores (…, vocabulary) of vectors (…, width): without the padding of vLLM's table."""
        head = cast(Any, self).head
        scores: Tensor = head.quant_method.apply(head, hidden.to(head.weight.dtype), bias=self.bias)
        return scores[..., : self.out_features]


def anatomy_of(model: ServedModel, context_length: int) -> Anatomy:
    """The stages of a vLLM model, in the order in which they complete.

    Its head never runs by itself: the logits processor, which follows the final norm, applies it.
    """
    found = dissect(cast(Any, model))
    head = _head_of(model)
    kept = [each for each in found.stages if head is None or found.modules.get(each.address) is not head]
    late = [each for each in kept if each.address == "logits_processor"]
    logits = next(at for at, each in enumerate(kept) if each.kind is StageKind.LOGITS)
    ordered: list[Stage] = [each for each in kept[:logits] if each not in late]
    path = None if head is None else _HEAD
    stages = (*ordered, *late, replace(kept[logits], module=path), *kept[logits + 1 :])
    modules = {each.address: found.modules[each.address] for each in stages if each.address in found.modules}
    return Anatomy(stages, modules, context_length)


def _head_of(model: nn.Module) -> nn.Module | None:
    head = getattr(model, _HEAD, None)
    return head if isinstance(head, nn.Module) and hasattr(head, "quant_method") else None


def _vocabulary(config: Any) -> int:
    return int(config.get_text_config(decoder=True).vocab_size)
