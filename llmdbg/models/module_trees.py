"""Any module tree with what `dissect` asks of a transformers model: vLLM's, one's own."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_EMBEDDINGS = (
    "embed_tokens",
    "wte",
    "word_embeddings",
    "tok_embeddings",
    "embed_in",
    "embeddings",
    "embedding",
    "embed",
)
_HEADS = ("lm_head", "embed_out", "output", "head", "unembed")


class AnyModel:
    """What `dissect` asks of a model, answered for a module tree that only has names to go by."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.named_modules = model.named_modules
        self.modules = model.modules
        config: Any = SimpleNamespace()
        config.get_text_config = lambda decoder=True: config
        self.config = config

    def get_input_embeddings(self) -> nn.Module | None:
        """The first module with the name of an input embedding."""
        return self._named(_EMBEDDINGS)

    def get_output_embeddings(self) -> nn.Module | None:
        """The first module with the name of a head."""
        return self._named(_HEADS)

    def get_decoder(self) -> None:
        """Not known."""
        return

    def _named(self, names: tuple[str, ...]) -> nn.Module | None:
        """The first module of such a name that has a table (ids, width)."""
        for name in names:
            for path, module in self._model.named_modules():
                if path.rpartition(".")[2] == name and getattr(getattr(module, "weight", None), "ndim", 0) == 2:
                    found: nn.Module = module
                    return found
        return None


class _Wrapped(AnyModel):
    """A module around a transformers model, such as PEFT's or DistributedDataParallel: the inner one is asked."""

    def __init__(self, model: nn.Module, inner: Any) -> None:
        super().__init__(model)
        self.config = inner.config
        self.get_input_embeddings = inner.get_input_embeddings  # type: ignore[method-assign]
        self.get_output_embeddings = inner.get_output_embeddings  # type: ignore[method-assign]
        self.get_decoder = inner.get_decoder  # type: ignore[method-assign]


def as_asked(model: nn.Module) -> Any:
    """The model itself if it answers what `dissect` asks, else something around it that does."""
    if is_of_transformers(model):
        return model
    inner = pretrained_in(model)
    return AnyModel(model) if inner is None else _Wrapped(model, inner)


def pretrained_in(model: nn.Module) -> PreTrainedModel | None:
    """The model itself if it is one of transformers, or the one that it is wrapped around; None if there is none."""
    if "transformers.modeling_utils" not in sys.modules:
        return None
    from transformers import PreTrainedModel

    found = next((each for each in model.modules() if isinstance(each, PreTrainedModel)), None)
    if found is None or found is model:
        return found
    # A model that has one of transformers among several parts is a model of its own.
    is_most = 2 * sum(each.numel() for each in found.parameters()) > sum(each.numel() for each in model.parameters())
    return found if is_most else None


def is_of_transformers(model: nn.Module) -> bool:
    """Whether a model has the getters of transformers: vLLM's of the same name take arguments."""
    return any(each.__module__.partition(".")[0] == "transformers" for each in type(model).__mro__)
