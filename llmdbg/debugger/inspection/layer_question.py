"""How a question about one layer is written: read without a model."""

from __future__ import annotations


def split_head(arguments: str) -> tuple[str, str | None]:
    """Split `[LAYER] [head N]` into the layer and what follows `head`; None if nothing asks for a head."""
    layer, word, head = f" {arguments.lower()} ".partition(" head ")
    return layer.strip(), head.strip() if word else None


def layer_names(arguments: str) -> tuple[str, ...]:
    """The address of the named layer; empty if none is named."""
    layer, _ = split_head(arguments)
    return (layer,) if layer else ()
