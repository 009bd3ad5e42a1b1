"""The distribution at this stop under other sampling settings, for sliders: nothing runs, and nothing is set.

It starts from the scores that reach the temperature. Where a processor before it has not run yet, or one after it is
not among those that are made anew, a note says so. A ban of this token is left out, as `set` lifts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.inspection.sampling_answer import SamplingPreview, SamplingView
from llmdbg.engine.debuggee import Capability
from llmdbg.probes.candidates import candidates
from llmdbg.probes.sampling_choice import SamplingChoice
from llmdbg.probes.sampling_preview import sampling_preview

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.debuggee import SamplingFacts
    from llmdbg.probes.candidates import Candidates

_ROWS = 40
_MADE_ANEW = ("temperature", "top_k", "top_p", "min_p")


def shown(inspector: Inspector) -> SamplingView | None:
    """The settings in force; None where there is no distribution, or its settings cannot be changed."""
    facts, can = inspector.debuggee.sampling, inspector.debuggee.capabilities
    if facts is None or not inspector.event.trail or not {Capability.SAMPLING, Capability.FORK} <= can:
        return None
    return SamplingView(_in_force(facts), facts.samples)


def fetch(inspector: Inspector, wanted: SamplingChoice) -> SamplingView | None:
    """The same, with the distribution under the settings that are wanted."""
    view, facts = shown(inspector), inspector.debuggee.sampling
    if view is None or facts is None:
        return None
    trail = [(stage.address, scores) for stage, scores in inspector.event.trail]
    later = set(facts.from_temperature)
    before = [each for each in trail if each[0] not in later]
    changed = sampling_preview(before[-1][1].to(torch.float32), wanted, facts.values.get("min_p"))
    found, _ = candidates(changed, inspector.vocabulary.text, top=_ROWS)
    notes = _left_out(facts, [address for address, _ in before])
    preview = SamplingPreview(wanted, found, _now(trail[-1][1], found), notes)
    return SamplingView(view.now, view.samples, preview)


def _in_force(facts: SamplingFacts) -> SamplingChoice:
    values = facts.values
    return SamplingChoice(values.get("temperature", 1.0), int(values.get("top_k", 0)), values.get("top_p", 1.0))


def _now(scores: Tensor, found: Candidates) -> tuple[float, ...]:
    ids = torch.tensor([each.id for each in found.rows], device=scores.device)
    return tuple(torch.softmax(scores[0].to(torch.float32), dim=-1)[ids].tolist())


def _left_out(facts: SamplingFacts, passed: Sequence[str]) -> tuple[str, ...]:
    waiting = [_name(each) for each in facts.before_temperature if each not in passed]
    others = [_name(each) for each in facts.from_temperature if _name(each) not in _MADE_ANEW]
    notes = [f"before {', '.join(waiting)}"] if waiting else []
    return (*notes, *([f"without {', '.join(others)}"] if others else []))


def _name(address: str) -> str:
    return address.removeprefix("sample.")
