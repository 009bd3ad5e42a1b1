"""The status line's sentence about what has just happened, for a newcomer who knows only what a token is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.explain.stages import happened
from llmdbg.formatting import counted
from llmdbg.frontends.answers.stops import not_finite, value_words
from llmdbg.frontends.sanitize import token_text
from llmdbg.frontends.tui.state.token_flow import described
from llmdbg.frontends.unhit_breakpoints import never_hit
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.frontends.tui.worker.snapshot import Snapshot


def sentence(shown: Snapshot) -> str:
    """Say what the stage that has just run did, and which breakpoint stopped the run there."""
    if shown.stop.not_finite_since is not None:
        return not_finite(shown.stop.not_finite_since)
    if shown.end is not None:
        return _ending(shown)
    stop = shown.stop
    said = _happened(shown)
    if stop.breakpoint is not None:
        found = [stop.why] if stop.why else []
        found += [value_words(stop.values)] if stop.values else []
        why = f" ({'; '.join(found)})" if found else ""
        said = f"{stop.reason} {stop.breakpoint}{why}: {said}"
    return f"run again, this token came out differently: {said}" if stop.differs else said


def _happened(shown: Snapshot) -> str:
    stop = shown.stop
    said = happened(
        stop.stage,
        size=stop.tensor.shape[-1] if stop.tensor and stop.tensor.shape else 0,
        prompt_length=shown.prompt_length,
        found=stop.candidates,
        chosen=stop.chosen,
    )
    return token_text(said)


def _ending(shown: Snapshot) -> str:
    assert shown.end is not None
    vain = [each.partition(":")[0] for each in never_hit(shown.breakpoints, shown.attn)]
    missed = "" if not vain else f"{vain[0]} · " if len(vain) == 1 else f"{len(vain)} breakpoints were never hit · "
    if shown.end.stopped_by == "exit":
        return f"{token_text(shown.end.why)} · {missed}0 log: what it wrote"
    again = "r again · " if shown.goes_back else ""
    return f"{token_text(shown.end.why)}: {counted(len(shown.end.ids), 'token')} · {missed}{again}a panes"


def looking(seen: Snapshot, shown: Snapshot) -> str:
    """Say that the panes describe a stage at which the run does not stand."""
    return (
        f"{seen.stop.stage.address} as it was · Enter goes back to it, "
        f"Esc looks at the stop again: {shown.stop.stage.address}"
    )


def at_rest(seen: Snapshot | None, shown: Snapshot) -> str:
    """What the status line says without anything else to say; `seen` is what the panes describe, if not the stop."""
    return sentence(shown) if seen is None else looking(seen, shown)


def about_statistics(shown: Snapshot) -> str:
    """Say which position's vector the numbers describe; empty if none."""
    tensor, kind = shown.stop.tensor, shown.stop.stage.kind
    ids_alone = kind in (StageKind.TOKENIZE, StageKind.SAMPLE)
    if ids_alone or tensor is None or tensor.focus is None or tensor.focus_position is None:
        return ""
    at = tensor.focus_position
    text = f"The statistics describe {described(shown.tokens[at])}."
    if at != shown.focus:
        text += f" Position {shown.focus} is not part of this forward."
    return text


def about_breakpoints(shown: Snapshot) -> str:
    """At the end of a run, say which breakpoints were never hit, and why that may be."""
    return "" if shown.end is None else " ".join(f"Note: {each}." for each in never_hit(shown.breakpoints, shown.attn))
