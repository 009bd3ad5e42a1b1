"""The texts about a layer and about the modules inside it, by what each is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.explain.facts import ModuleRole
from llmdbg.formatting import counted, listed, percent_in_prose, quote, quote_list
from llmdbg.models.stages import gradient_of, line_parts, op_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdbg.explain.facts import ModuleFacts, StageFacts

_MOST_READ, _LARGE_FIRST = 3, 0.3

_PLAIN = {
    ModuleRole.MLP: (
        "An MLP works on the vector of each position by itself. It computes new numbers from it, lets some of them "
        "through and holds others back."
    ),
    ModuleRole.NORM: (
        "A norm brings the vector of each position to a common size, so that the next part gets numbers in the range "
        "it is used to."
    ),
    ModuleRole.ROTARY: (
        "This part computes the angles of RoPE. Attention rotates queries and keys by them, so that it can tell how "
        "far apart two positions are."
    ),
    ModuleRole.ROUTER: "The router decides for each position which experts of the mixture of experts work on it.",
    ModuleRole.EXPERTS: "The experts are several MLPs side by side. Each position is sent to a few of them.",
    ModuleRole.MIXTURE: (
        "This is a mixture of experts: a router sends each position to a few of several MLPs, and their results are "
        "combined."
    ),
    ModuleRole.DROPOUT: "Dropout only does something during training. Here its output is its input.",
    ModuleRole.ACTIVATION: "An activation applies one simple curve to each number by itself.",
    ModuleRole.STATE_SPACE: (
        "This is a state-space model: it reads the positions in order and keeps what it needs in a state of fixed "
        "size. It takes the place of attention."
    ),
    ModuleRole.RECURRENT: (
        "This part reads the positions in order and keeps what it needs in a state of fixed size. It takes the place "
        "that attention has in other layers."
    ),
    ModuleRole.CONVOLUTION: "A convolution mixes each position with a few of its neighbours, with learned weights.",
    ModuleRole.TABLE: "This is a table of learned vectors. A row is looked up for each position.",
}


def about_layer(facts: StageFacts) -> Iterator[str]:
    """What a layer does, and which positions this one read from."""
    parts = facts.part.parts if facts.part is not None else ()
    yield (
        f"This is layer {facts.stage.layer} of {facts.model.layers}, counted from 0. Each layer reads the residual "
        "stream, computes something from it, and adds the result."
    )
    if parts:
        yield f"Its parts are {quote_list(parts)}."
    if facts.reads is not None:
        yield from _about_reads(facts)


def about_line(facts: StageFacts) -> Iterator[str]:
    """A line of a forward's source."""
    parts = line_parts(facts.stage.address) or (facts.stage.address, "")
    yield f"Line {parts[1]} of the source file of {parts[0]} runs next. The lines before have computed what it needs."


def about_op(facts: StageFacts) -> Iterator[str]:
    """A single aten call."""
    parts = op_parts(facts.stage.address) or (facts.stage.address, "", None)
    yield (
        f"{parts[1]} is a single operation of PyTorch, the smallest step of a forward that can be stopped at. It ran "
        f"as part of {parts[0]}."
    )


def about_gradient(facts: StageFacts) -> Iterator[str]:
    """A gradient in backward."""
    yield (
        "A gradient says how much the loss changes when a value changes a little. This one has a number for each "
        f"number of {gradient_of(facts.stage.address)}. Backward computes them from the loss back to the first layer."
    )


def about_module(facts: StageFacts) -> Iterator[str]:
    """What a module of this role is for."""
    part = facts.part
    if part is None:
        yield "No module of the model runs here."
    elif part.role == ModuleRole.ATTENTION:
        yield from _about_attention(facts, part)
    elif part.role == ModuleRole.PROJECTION:
        yield _about_projection(part)
    elif part.role in _PLAIN:
        yield _PLAIN[ModuleRole(part.role)]
        if part.widens is not None:
            narrow, wide = part.widens
            yield f"This one turns {counted(narrow, 'number')} into {wide:,}, and those back into {narrow:,}."
        if part.experts is not None:
            several, used = part.experts
            yield f"There are {several} experts, and each position uses {used} of them."
    else:
        yield (
            f"{quote(part.name)} is a {quote(part.class_name)}, a kind of module that has no text of its own here."
            + ("" if part.weights is None else f" It has {counted(part.weights, 'weight')}.")
        )
        if part.parts:
            yield f"It is made of {quote_list(part.parts)}; `step` goes into them."
    if part is not None and part.parts and part.role != ModuleRole.OTHER:
        yield f"Its parts are {quote_list(part.parts)}."


def _about_attention(facts: StageFacts, part: ModuleFacts) -> Iterator[str]:
    if part.formula is None and facts.reads is None:
        yield (
            f"{quote(part.class_name)} is an attention by its name, but its parts are not those known here. "
            f"`info source {facts.stage.address}` shows how it reads from other positions."
        )
        return
    yield (
        "Attention lets a position read from itself and the positions before it. It makes a query, compares the query "
        "with the key of each of them, and mixes their values according to how well they match."
    )
    if part.heads is not None:
        heads, shared = part.heads
        text = f"According to the configuration, each such layer has {counted(heads, 'attention head')}"
        keys = "1 head of keys and values" if shared == 1 else f"{shared} heads of keys and values"
        yield f"{text}, which share {keys}: grouped-query attention." if shared < heads else f"{text}."
    if part.window is not None:
        yield f"A sliding window limits it to the last {counted(part.window, 'position')}."
    if facts.reads is not None:
        yield from _about_reads(facts)


def _about_reads(facts: StageFacts) -> Iterator[str]:
    """What attention read from, in this run."""
    reads = facts.reads
    if reads is None or not reads.read:
        return
    position, text, share = reads.read[0]
    over = f" on average over {reads.heads} heads" if reads.heads > 1 else ""
    yield (
        f"For position {reads.position}, attention here reads most from {quote(text)} at position {position}: "
        f"{percent_in_prose(share)}{over}."
    )
    others = [
        f"{quote(text)} at {position} ({percent_in_prose(share)})" for position, text, share in reads.read[1:_MOST_READ]
    ]
    if others:
        yield f"Next {'comes' if len(others) == 1 else 'come'} {listed(others)}."
    if position == 0 and reads.first >= _LARGE_FIRST and reads.position > 0:
        yield (
            "A large share on the first position is common: heads look there when nothing else matches. It is called "
            "an attention sink."
        )


def _about_projection(part: ModuleFacts) -> str:
    if part.sizes is None:
        return "A projection multiplies the vector of each position by a learned matrix."
    before, after = part.sizes
    said = (
        f"{quote(part.name)} is a projection: it multiplies the vector of each position ({counted(before, 'number')}) "
        f"by a learned matrix, which gives {counted(after, 'number')}."
    )
    if not part.fused:
        return said
    each = listed([f"{name} ({size:,})" for name, size in part.fused])
    return f"{said} It is {len(part.fused)} projections in one: its output is {each} side by side."


_SOURCES = (
    ("RMSNorm", "Zhang & Sennrich 2019"),
    ("LayerNorm", "Ba, Kiros & Hinton 2016"),
    ("SiLU", "Elfwing, Uchibe & Doya 2017"),
    ("GELU", "Hendrycks & Gimpel 2016"),
    ("squared ReLU", "So et al. 2021"),
)


def engineer_part(facts: StageFacts) -> Iterator[str]:
    """A module's class, sizes, formula and the paper it comes from: only what was found out from the module itself."""
    part = facts.part
    if part is None:
        return
    module = f" ({facts.stage.module})" if facts.stage.module else ""
    yield f"{part.class_name}{module}" + ("" if part.weights is None else f", {counted(part.weights, 'weight')}")
    if part.heads is not None and (part.formula is not None or facts.reads is not None):
        heads, shared = part.heads
        yield f"num_attention_heads {heads}, num_key_value_heads {shared}" + _sharing(heads, shared)
        yield "attention: Vaswani et al. 2017"
    if part.window is not None:
        yield f"sliding_window {part.window} (Beltagy, Peters & Cohan 2020)"
    if part.experts is not None:
        yield f"{part.experts[0]} experts, {part.experts[1]} for each position (Shazeer et al. 2017)"
    if part.checked is not None:
        source = next((source for name, source in _SOURCES if part.checked.startswith(name)), "")
        yield f"{part.checked}{f' ({source})' if source else ''}; checked against its own forward on trial input"
    elif part.role in (ModuleRole.NORM, ModuleRole.ACTIVATION) and part.tried:
        yield f"its forward matches none of the formulas known here; {_code_of(facts)} shows what it does"
    if part.formula is not None:
        yield f"{part.formula}; inferred from its parts and their sizes, {_code_of(facts)} shows the code"
    if part.formula is not None and "gate_proj" in part.formula:
        yield "a gated MLP (Shazeer 2020), called SwiGLU if act is SiLU"
    if part.role == ModuleRole.ROTARY:
        yield "RoPE: Su et al. 2021"
    if part.role == ModuleRole.STATE_SPACE:
        yield "it has an A_log parameter, as in Mamba (Gu & Dao 2023)"


def _code_of(facts: StageFacts) -> str:
    return f"`info source {facts.stage.address}`"


def _sharing(heads: int, shared: int) -> str:
    if shared == 1 and heads > 1:
        return " (multi-query attention, Shazeer 2019)"
    return " (grouped-query attention, Ainslie et al. 2023)" if shared < heads else ""
