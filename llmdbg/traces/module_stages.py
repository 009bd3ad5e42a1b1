"""The stages of any module tree: a transformers model, vLLM's, one's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch import nn

from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import SAMPLE, TOKENIZE, StageKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdbg.models.stages import Stage

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


class _AnyModel:
    """What `dissect` asks of a model, answered for a module tree that only has names to go by."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.named_modules = model.named_modules
        self.modules = model.modules
        config: Any = SimpleNamespace()
        config.get_text_config = lambda decoder=True: config
        self.config = config

    def get_input_embeddings(self) -> nn.Module | None:
        return self._named(_EMBEDDINGS)

    def get_output_embeddings(self) -> nn.Module | None:
        return self._named(_HEADS)

    def get_decoder(self) -> None:
        return None

    def _named(self, names: tuple[str, ...]) -> nn.Module | None:
        """The first module of such a name that has a table (ids, width)."""
        for name in names:
            for path, module in self._model.named_modules():
                if path.rpartition(".")[2] == name and getattr(getattr(module, "weight", None), "ndim", 0) == 2:
                    found: nn.Module = module
                    return found
        return None


def stages_of(model: nn.Module) -> tuple[tuple[Stage, ...], Mapping[str, nn.Module]]:
    """The stages that modules run, in the order in which they complete, and the module of each by address.

    A transformers model is asked for its parts; of any other tree, they are found by their names and places.
    """
    known: Any = model if _is_of_transformers(model) else _AnyModel(model)
    anatomy = dissect(known)
    without = (TOKENIZE.address, SAMPLE.address)
    stages = tuple(each for each in anatomy.stages if each.address not in without and each.kind is not StageKind.LOGITS)
    return stages, anatomy.modules


def _is_of_transformers(model: nn.Module) -> bool:
    """Whether a model has the getters of transformers: vLLM's of the same name take arguments."""
    return any(each.__module__.partition(".")[0] == "transformers" for each in type(model).__mro__)
