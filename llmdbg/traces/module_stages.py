"""The stages of any module tree: a transformers model, vLLM's, one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.models.anatomy import dissect
from llmdbg.models.module_trees import as_asked
from llmdbg.models.stages import SAMPLE, TOKENIZE, StageKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from llmdbg.models.stages import Stage


def stages_of(model: nn.Module) -> tuple[tuple[Stage, ...], Mapping[str, nn.Module]]:
    """The stages that modules run, in the order in which they complete, and the module of each by address.

    A transformers model is asked for its parts; of any other tree, they are found by their names and places.
    """
    anatomy = dissect(as_asked(model))
    without = (TOKENIZE.address, SAMPLE.address)
    stages = tuple(each for each in anatomy.stages if each.address not in without and each.kind is not StageKind.LOGITS)
    return stages, anatomy.modules
