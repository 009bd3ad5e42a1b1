"""Why a stage computes something else, where the two models' configurations or buffers tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.outcome import Finding, FindingKind
from llmdbg.formatting import counted, listed, percent
from llmdbg.models.attentions import attentions
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.models.anatomy import Anatomy

_OF_POSITIONS = ("rope", "rotary")
_OF_ATTENTION = ("window", "layer_types", "attn", "attention")
_NO_CAUSE = ("implementation", "dropout")
_UNEXPLAINED = (FindingKind.FUNCTION, FindingKind.MASK)
_MOST = 3
_ROUNDING = 2**-7
"""What bfloat16 rounds off; buffers that differ by less differ by their dtype."""


def with_reasons(
    findings: Sequence[Finding],
    explained: Collection[str],
    models: tuple[nn.Module, nn.Module],
    anatomies: tuple[Anatomy, Anatomy],
) -> list[Finding]:
    """The findings; those of stages that compute something else say what explains it, if anything does.

    `explained` are the addresses whose findings say so already. `models` and `anatomies` are the reference's and the
    candidate's.
    """
    reasons: dict[str, str] | None = None
    said = []
    for each in findings:
        reason = ""
        if each.kind in _UNEXPLAINED and each.address not in explained:
            reasons = _reasons(models, anatomies) if reasons is None else reasons
            reason = reasons.get(each.address, "")
        said.append(replace(each, sentence=f"{each.sentence} ({reason})") if reason else each)
    return said


def _reasons(models: tuple[nn.Module, nn.Module], anatomies: tuple[Anatomy, Anatomy]) -> dict[str, str]:
    """By address; empty words where nothing explains it."""
    theirs, ours = anatomies
    changed = list(_differing(*(_leaves(_configuration(each)) for each in models)))
    heads = [each.address for each in attentions(ours)]
    rotary = [each for each in ours.modules if any(word in each.lower() for word in _OF_POSITIONS)]
    positions, windows = _words(changed, _OF_POSITIONS), _words(changed, _OF_ATTENTION)
    found = {each: positions or _buffers(theirs, ours, each) for each in rotary}
    of_heads = [each for each in (windows, "" if rotary else positions) if each]
    found |= dict.fromkeys(heads, listed(of_heads)) if of_heads else {}
    if len(theirs.layers()) != len(ours.layers()):
        layers = f"the candidate has {counted(len(ours.layers()), 'layer')} instead of {len(theirs.layers())}"
        found |= {each.address: layers for each in ours.stages if each.kind is StageKind.NORM}
    return found


def _words(changed: Sequence[tuple[str, object, object]], about: Sequence[str]) -> str:
    named = [
        f"{name} is {other!r} instead of {one!r}"
        for name, one, other in changed
        if any(word in name for word in about) and not any(word in name for word in _NO_CAUSE)
    ]
    return listed(named[:_MOST]) if named else ""


def _buffers(theirs: Anatomy, ours: Anatomy, address: str) -> str:
    """Which of a module's buffers differ from the reference's, and by how much; empty if none does."""
    if (reference := theirs.modules.get(address)) is None:
        return ""
    known, said = dict(reference.named_buffers(recurse=False)), []
    for name, other in ours.modules[address].named_buffers(recurse=False):
        one = known.get(name)
        if one is None or one.shape != other.shape or not one.is_floating_point() or name.startswith("original_"):
            continue
        expected, values = one.to(torch.float64), other.to(one.device, torch.float64)
        norm = float(expected.norm())
        if norm and (share := float((values - expected).norm()) / norm) > _ROUNDING:
            said.append(f"its {name} differs by {percent(share)} of its norm")
    return listed(said[:_MOST]) if said else ""


def _configuration(model: nn.Module) -> Mapping[str, object]:
    config = getattr(model, "config", None)
    of_text = getattr(config, "get_text_config", None)
    to_dict = getattr(config if of_text is None else of_text(), "to_dict", None)
    return {} if to_dict is None else to_dict()


def _leaves(values: Mapping[str, object], around: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{around}{name}.")
        elif value is None or isinstance(value, (bool, int, float, str, list, tuple)):
            found[f"{around}{name}"] = value
    return found


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[tuple[str, object, object]]:
    for name in {**one, **other}:
        # What is not there and what is switched off are the same.
        if (one.get(name) or None) != (other.get(name) or None):
            yield name, one.get(name), other.get(name)
