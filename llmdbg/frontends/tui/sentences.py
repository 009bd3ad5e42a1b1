"""The status line's sentence: what has just happened, for someone who has only read what a token is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.missed import never_hit
from llmdbg.frontends.text import value_words
from llmdbg.frontends.tui.panes.tokens import described
from llmdbg.frontends.visible import quoted
from llmdbg.models.stages import Phase, StageKind

if TYPE_CHECKING:
    from llmdbg.frontends.tui.snapshot import Snapshot


def sentence(shown: Snapshot) -> str:
    """Say what the stage that has just run did, and which breakpoint stopped the run there."""
    if shown.end is not None:
        return _ending(shown)
    stop = shown.stop
    said = _happened(shown)
    if stop.breakpoint is not None:
        values = f" ({value_words(stop.values)})" if stop.values else ""
        said = f"{stop.reason} {stop.breakpoint}{values}: {said}"
    return f"run again, this token came out otherwise than before: {said}" if stop.differs else said


def _happened(shown: Snapshot) -> str:
    stop = shown.stop
    stage, size = stop.stage, stop.tensor.shape[-1] if stop.tensor and stop.tensor.shape else 0
    sentences = {
        StageKind.TOKENIZE: f"the prompt is cut into {shown.prompt_length} tokens, each a number the model knows",
        StageKind.EMBED: f"each token's number is looked up and becomes a vector of {size} numbers",
        StageKind.LAYER: f"layer {stage.layer} has added what it found to the vector of each position",
        StageKind.MODULE: f"{_last_name(stage.address)} has run, a part of {_whole(stage.address, stage.layer)}",
        StageKind.NORM: "the vectors are scaled to a common size before they are read out",
        StageKind.LOGITS: "the last position's vector is compared with every token: these are the scores",
        StageKind.PROCESSOR: _processed(shown),
    }
    if stop.chosen is not None:
        rank = "the likeliest" if stop.chosen.rank == 1 else f"number {stop.chosen.rank} in likelihood"
        return f"the next token is chosen: {quoted(stop.chosen.text)}, {rank} at {100 * stop.chosen.prob:.1f} %"
    return sentences.get(stage.kind, "")


def _processed(shown: Snapshot) -> str:
    found = shown.stop.candidates
    name = _last_name(shown.stop.stage.address)
    if found is None:
        return f"{name} has changed the scores"
    cut = dict(found.cuts).get(found.address, 0)
    if cut:
        return f"{name} has cut {cut:,} tokens: {found.left:,} may still be chosen"
    return f"{name} has changed the scores: {found.left:,} tokens may be chosen"


def _ending(shown: Snapshot) -> str:
    assert shown.end is not None
    count = len(shown.end.ids)
    why = {"eos": "the model ended its answer", "length": "the length asked for is reached"}
    reason = "the model's context is full" if shown.end.at_context_end else why.get(shown.end.stopped_by, "left")
    vain = [each.partition(":")[0] for each in never_hit(shown.breakpoints)]
    missed = "" if not vain else f"{vain[0]} · " if len(vain) == 1 else f"{len(vain)} breakpoints were never hit · "
    return f"{reason}: {count} token{'' if count == 1 else 's'} · {missed}r again · a panes"


def _last_name(address: str) -> str:
    return address.rpartition(".")[2]


def _whole(address: str, layer: int | None) -> str:
    outer = address.rpartition(".")[0]
    if layer is None:
        return "the model" if outer in ("", "model") else outer
    return f"layer {layer}" if outer == str(layer) else outer.partition(".")[2] + f" in layer {layer}"


def about_stage(shown: Snapshot) -> str:
    """Say what a stage of this kind is, for someone who has not seen one before."""
    stop = shown.stop
    stage, size = stop.stage, stop.tensor.shape[-1] if stop.tensor and stop.tensor.shape else 0
    texts = {
        StageKind.TOKENIZE: (
            "A model does not read letters. A tokenizer cuts the text into pieces it knows, tokens, and what the model "
            "is fed is the number of each. A word that is not in the vocabulary becomes several tokens."
        ),
        StageKind.EMBED: (
            f"The embedding is a table with a row of {_numbers(size)} for every token of the vocabulary. From "
            "here on the model works with these vectors, one for each position: the residual stream."
        ),
        StageKind.LAYER: (
            f"Each of the {shown.layers} layers reads the vectors of all positions so far (attention), works on each "
            "by itself (the MLP), and adds what it found to the residual stream."
        ),
        StageKind.MODULE: "A module is a part of the model with a forward of its own: s goes on into the next, f out.",
        StageKind.NORM: "The final norm brings the vectors to a common size, so that the head can compare them.",
        StageKind.LOGITS: (
            f"The head gives every one of {_tokens(size)} a score, its logit: the higher, the likelier it comes next. "
            "Softmax turns the scores into probabilities that add up to one."
        ),
        StageKind.PROCESSOR: (
            "Before the choice the scores are changed by the sampling settings: temperature flattens or sharpens them, "
            "top-k, top-p and min-p cut the unlikely ones, a repetition penalty lowers what was said before."
        ),
        StageKind.SAMPLE: (
            "Greedy decoding takes the token with the highest score; sampling draws one at random, each as often as "
            "its probability says. "
            + ("" if shown.end else "The chosen token is appended, and the model runs again to produce the next.")
        ),
    }
    return texts.get(stage.kind, "").strip()


def _numbers(size: int) -> str:
    return f"{size:,} learned numbers" if size else "learned numbers"


def _tokens(size: int) -> str:
    return f"the vocabulary's {size:,} tokens" if size else "the vocabulary's tokens"


def about_phase(shown: Snapshot) -> str:
    """Say which of the two phases the run is in, and what that means for what is seen."""
    if shown.stop.stage.kind is StageKind.TOKENIZE:
        return f"Next comes the prefill: all {shown.prompt_length} tokens go through the model in one forward."
    if shown.stop.phase is Phase.PREFILL:
        return f"Prefill: all {shown.prompt_length} tokens of the prompt go through the model in one forward."
    return (
        f"Decode: only the newest token, at position {shown.prompt_length + shown.stop.token - 1}, goes through the "
        "model; what the earlier ones left for attention is in the KV cache."
    )


def about_statistics(shown: Snapshot) -> str:
    """Say which position's vector the numbers describe; empty where they describe none."""
    tensor, kind = shown.stop.tensor, shown.stop.stage.kind
    ids_alone = kind in (StageKind.TOKENIZE, StageKind.SAMPLE)
    if ids_alone or tensor is None or tensor.focus is None or tensor.focus_position is None:
        return ""
    at = tensor.focus_position
    told = f"The statistics describe {described(shown.tokens[at])}."
    if at != shown.focus:
        told += f" Position {shown.focus} does not go through the model now."
    return told


def about_breakpoints(shown: Snapshot) -> str:
    """At the end of a run, say which breakpoints waited in vain, and why that may be."""
    return "" if shown.end is None else " ".join(f"Note: {each}." for each in never_hit(shown.breakpoints))
