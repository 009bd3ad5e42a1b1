"""The texts of the modules inside a layer, by what each is for, and of the layer itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.explain.facts import Role
from llmdbg.formatting import counted, percent_in_prose, quote, quote_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdbg.explain.facts import Facts, PartFacts

_MOST_READ, _LARGE_FIRST = 3, 0.3

_PLAIN = {
    Role.MLP: (
        "An MLP works on the vector of each position by itself. In between it lets some of the numbers pass and holds "
        "others back."
    ),
    Role.NORM: (
        "A norm brings the vector of each position to a common size, so that the part behind it works with numbers it "
        "is used to."
    ),
    Role.ROTARY: (
        "This part works out the angles of RoPE: attention turns queries and keys by them, so that it can tell how far "
        "apart two positions are."
    ),
    Role.ROUTER: "The router decides for each position which experts of the mixture of experts work on it.",
    Role.EXPERTS: "The experts are several MLPs side by side. Each position is sent to a few of them.",
    Role.MIXTURE: (
        "This is a mixture of experts: a router sends each position to a few of several MLPs, and what they give is "
        "put together again."
    ),
    Role.DROPOUT: "Dropout only does something while a model is trained. Here it gives out what went in.",
    Role.ACTIVATION: "An activation applies one simple curve to each number by itself.",
    Role.STATE_SPACE: (
        "This is a state-space model: it reads the positions in order and keeps what it needs in a state of fixed "
        "size. It stands where other models have attention."
    ),
    Role.RECURRENT: (
        "This part reads the positions in order and keeps what it needs in a state of fixed size. It stands where "
        "other layers have attention."
    ),
    Role.CONVOLUTION: "A convolution mixes each position with a few of its neighbours, with learned weights.",
    Role.TABLE: "This is a table of learned vectors. A row is looked up for each position.",
}


def about_layer(facts: Facts) -> Iterator[str]:
    """What a layer is, and what this one read from."""
    parts = facts.part.parts if facts.part is not None else ()
    yield (
        f"This is layer {facts.stage.layer} of {facts.model.layers}, counted from 0. Each layer reads the residual "
        "stream, works out something, and adds what it found."
    )
    if parts:
        yield f"This one is made of {quote_list(parts)}."
    if facts.reads is not None:
        yield from _about_reads(facts)


def about_module(facts: Facts) -> Iterator[str]:
    """What a module of this role is for."""
    part = facts.part
    if part is None:
        yield "No module of the model runs here."
    elif part.role == Role.ATTENTION:
        yield from _about_attention(facts, part)
    elif part.role == Role.PROJECTION:
        yield _about_projection(part)
    elif part.role in _PLAIN:
        yield _PLAIN[Role(part.role)]
        if part.widens is not None:
            narrow, wide = part.widens
            yield f"This one turns {counted(narrow, 'number')} into {wide:,}, and these into {narrow:,} again."
        if part.experts is not None:
            several, used = part.experts
            yield f"There are {several} experts, and each position uses {used} of them."
    else:
        yield (
            f"{quote(part.name)} is a {quote(part.class_name)}, a module that has no text of its own here. "
            f"It has {counted(part.weights, 'weight')}."
        )
        if part.parts:
            yield f"It is made of {quote_list(part.parts)}: s goes on into them."
    if part is not None and part.parts and part.role != Role.OTHER:
        yield f"Its parts are {quote_list(part.parts)}."


def _about_attention(facts: Facts, part: PartFacts) -> Iterator[str]:
    if part.formula is None and facts.reads is None:
        yield (
            f"{quote(part.class_name)} is called an attention. Its parts are not those known here, so how it reads "
            "from other positions is left to `info source`."
        )
        return
    yield (
        "Attention lets a position read from itself and the positions before it. It makes a query, compares it with "
        "the key of each, and mixes their values by how well they fit."
    )
    if part.heads is not None:
        heads, shared = part.heads
        told = f"The configuration gives this model {counted(heads, 'head')} of attention in each such layer"
        yield told + (f", and {shared} for keys and values: grouped-query attention." if shared < heads else ".")
    if part.window is not None:
        yield f"A sliding window lets it read {counted(part.window, 'position')} back at most."
    if facts.reads is not None:
        yield from _about_reads(facts)


def _about_reads(facts: Facts) -> Iterator[str]:
    """Where attention looked, in this run."""
    reads = facts.reads
    if reads is None or not reads.read:
        return
    position, text, share = reads.read[0]
    over = f" on average over {reads.heads} heads" if reads.heads > 1 else ""
    yield (
        f"Reading for position {reads.position}, attention here took most from {quote(text)} at position {position}: "
        f"{percent_in_prose(share)}{over}."
    )
    others = reads.read[1:_MOST_READ]
    if others:
        told = " and ".join(
            f"{quote(text)} at {position} ({percent_in_prose(share)})" for position, text, share in others
        )
        yield f"After it came {told}."
    if position == 0 and reads.first >= _LARGE_FIRST and reads.position > 0:
        yield "A large share on the first position is common: heads look there when nothing fits, an attention sink."


def _about_projection(part: PartFacts) -> str:
    if part.sizes is None:
        return "A projection multiplies the vector of each position by a learned matrix."
    before, after = part.sizes
    return (
        f"{quote(part.name)} is a projection: it multiplies the vector of each position, {counted(before, 'number')}, "
        f"by a learned matrix and gives {counted(after, 'number')}."
    )


_SOURCES = (
    ("RMSNorm", "Zhang & Sennrich 2019"),
    ("LayerNorm", "Ba, Kiros & Hinton 2016"),
    ("SiLU", "Elfwing, Uchibe & Doya 2017"),
    ("GELU", "Hendrycks & Gimpel 2016"),
    ("squared ReLU", "So et al. 2021"),
)


def engineer_part(facts: Facts) -> Iterator[str]:
    """Class, sizes, formula and source of a module: only what was asked of it."""
    part = facts.part
    if part is None:
        return
    module = f" ({facts.stage.module})" if facts.stage.module else ""
    yield f"{part.class_name}{module}, {counted(part.weights, 'weight')}"
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
        yield f"{part.checked}{f' ({source})' if source else ''}; its own forward gave this on trial numbers"
    elif part.role in (Role.NORM, Role.ACTIVATION):
        yield "its forward gave none of the formulas known here; `info source` shows what it does"
    if part.formula is not None:
        yield f"{part.formula}; by its parts and their sizes, `info source` shows the code"
    if part.formula is not None and "gate_proj" in part.formula:
        yield "a gated MLP (Shazeer 2020), called SwiGLU where act is SiLU"
    if part.role == Role.ROTARY:
        yield "RoPE: Su et al. 2021"
    if part.role == Role.STATE_SPACE:
        yield "it has an A_log of its own, as the models of Gu & Dao 2023 do"


def _sharing(heads: int, shared: int) -> str:
    if shared == 1 and heads > 1:
        return " (multi-query attention, Shazeer 2019)"
    return " (grouped-query attention, Ainslie et al. 2023)" if shared < heads else ""
