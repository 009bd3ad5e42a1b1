"""Faults in weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.planted.ground import Fault, Ground, Plant, ends, is_linear, is_norm, weight_of


def element(ground: Ground) -> Fault | None:
    """One value of a matrix is another."""
    address = ground.choose(lambda at, module: is_linear(at, module) or at in ("norm", "lm_head", "embed"))
    assert address is not None
    get, source, by = ground.at(address), ground.noise(), ground.rng.choice((0.1, 0.5, 2.0))

    def plant(model: nn.Module) -> None:
        weight = get(model).weight.data.view(-1)
        weight[torch.randint(weight.numel(), (), generator=source)] += by * float(weight.abs().max())

    right = {address, "embed"} if ground.model.config.tie_word_embeddings and address == "lm_head" else {address}
    return Fault(f"one value of {address} is off by {by} of the largest", frozenset(right), plant)


def row(ground: Ground) -> Fault | None:
    """One row of a matrix is another multiple, or zero."""
    address = ground.choose(is_linear)
    assert address is not None
    get, source, by = ground.at(address), ground.noise(), ground.rng.choice((0.0, 0.9, 1.05, -1.0))

    def plant(model: nn.Module) -> None:
        weight = get(model).weight.data
        weight[torch.randint(len(weight), (), generator=source)] *= by

    return Fault(f"a row of {address} is {by} times what it was", frozenset((address,)), plant)


def noise(ground: Ground) -> Fault | None:
    """Every value of a weight is a little off."""
    address = ground.choose(lambda at, module: is_linear(at, module) or is_norm(at, module))
    assert address is not None
    get, source, by = ground.at(address), ground.noise(), ground.rng.choice((0.001, 0.003, 0.01, 0.03, 0.1))

    def plant(model: nn.Module) -> None:
        weight = get(model).weight.data
        weight *= 1 + by * torch.randn(weight.shape, generator=source)

    return Fault(f"{address} with noise of {by:.1%}", frozenset((address,)), plant)


def scaled(ground: Ground) -> Fault | None:
    """A whole weight is a multiple of what it was."""
    address = ground.choose(lambda at, module: is_linear(at, module) or is_norm(at, module))
    assert address is not None
    get, by = ground.at(address), ground.rng.choice((0.5, 0.98, 1.01, 1.1, 2.0, -1.0))
    return Fault(
        f"{address} is {by} times what it was", frozenset((address,)), lambda model: get(model).weight.data.mul_(by)
    )


def quantised(ground: Ground) -> Fault | None:
    """A weight that has been through eight or four bits."""
    address = ground.choose(is_linear)
    assert address is not None
    get, bits = ground.at(address), ground.rng.choice((4, 8))

    def plant(model: nn.Module) -> None:
        weight = get(model).weight.data
        step = weight.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
        weight.copy_((weight / step).round() * step)

    return Fault(f"{address} rounded to {bits} bits", frozenset((address,)), plant)


def swapped_norms(ground: Ground) -> Fault | None:
    """Two norms of a layer in each other's place."""
    layer = ground.layer()
    norms = [at for at in ground.modules if at.startswith(f"{layer}.") and is_norm(at, ground.modules[at])]
    shapes = {at: weight_of(ground.modules[at]).shape for at in norms}
    pairs = [(one, other) for one in norms for other in norms if one < other and shapes[one] == shapes[other]]
    if not pairs:
        return None
    one, other = ground.rng.choice(pairs)
    return Fault(f"{one} and {other} swapped", frozenset((one, other)), _swapping(ground, one, other))


def swapped_layers(ground: Ground) -> Fault | None:
    """Two layers' matrices in each other's place."""
    layers = sorted((at for at in ground.modules if at.isdigit()), key=int)
    first = ground.rng.randrange(len(layers) - 1)
    names = [at.partition(".")[2] for at in ground.modules if at.startswith(f"{layers[first]}.")]
    pairs = [(f"{layers[first]}.{name}", f"{layers[first + 1]}.{name}") for name in names]
    pairs = [pair for pair in pairs if all(at in ground.modules for at in pair)]
    pairs = [pair for pair in pairs if next(ground.modules[pair[0]].parameters(recurse=False), None) is not None]
    plants = [_swapping(ground, *pair) for pair in pairs]
    return Fault(
        f"the weights of layers {layers[first]} and {layers[first + 1]} swapped",
        frozenset(pair[0] for pair in pairs),
        lambda model: [plant(model) for plant in plants],
    )


def keys_for_values(ground: Ground) -> Fault | None:
    """The weights of k and v swapped."""
    key = ground.choose(ends("k_proj"))
    if key is None:
        return _fused(ground)
    value = key.replace("k_proj", "v_proj")
    return Fault(f"{key} and {value} swapped", frozenset((key, value)), _swapping(ground, key, value))


def _fused(ground: Ground) -> Fault | None:
    fused = ground.choose(ends("qkv_proj", "c_attn", "query_key_value"))
    if fused is None or ground.name == "falcon":
        return None
    get, width = ground.at(fused), 8

    def plant(model: nn.Module) -> None:
        weight = get(model).weight.data
        weight = weight.T if ground.name == "gpt2" else weight
        key, value = weight[-2 * 2 * width : -2 * width].clone(), weight[-2 * width :].clone()
        weight[-2 * 2 * width : -2 * width], weight[-2 * width :] = value, key

    return Fault(f"keys and values swapped in {fused}", frozenset((fused,)), plant)


def permuted_heads(ground: Ground) -> Fault | None:
    """A projection's heads in another order, or its rotated pairs interleaved as in Meta's checkpoints."""
    address = ground.choose(ends("q_proj", "k_proj", "o_proj", "out_proj"))
    if address is None or ground.name == "mamba":
        return None
    get, how = ground.at(address), ground.rng.choice(("heads", "pairs"))
    config = ground.model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def plant(model: nn.Module) -> None:
        weight = get(model).weight.data
        rows = weight.T if address.endswith(("o_proj", "out_proj")) else weight
        heads = rows.reshape(-1, width, rows.shape[-1])
        if how == "heads" and len(heads) > 1:
            changed = heads.roll(1, 0)
        else:
            changed = heads.unflatten(1, (2, width // 2)).transpose(1, 2)
        rows.copy_(changed.reshape(rows.shape).clone())

    return Fault(f"{how} of {address} permuted", frozenset((address,)), plant)


def transposed(ground: Ground) -> Fault | None:
    """A square matrix, transposed."""
    address = ground.choose(
        lambda at, module: is_linear(at, module) and weight_of(module).shape[0] == weight_of(module).shape[1]
    )
    if address is None:
        return None
    get = ground.at(address)

    def plant(model: nn.Module) -> None:
        get(model).weight.data = get(model).weight.data.T.clone()

    return Fault(f"{address} transposed", frozenset((address,)), plant)


def merged_lora(ground: Ground) -> Fault | None:
    """An adapter merged into a weight with another scale than in the reference."""
    address = ground.choose(is_linear)
    assert address is not None
    get, source, scale = ground.at(address), ground.noise(), ground.rng.choice((0.5, 2.0, 0.9))
    rows, columns = weight_of(ground.modules[address]).shape
    up, down = (torch.randn(shape, generator=source) * 0.05 for shape in ((rows, 4), (4, columns)))

    def merged(model: nn.Module, by: float) -> None:
        get(model).weight.data += by * up @ down

    return Fault(
        f"a LoRA merged into {address} with {scale} times its scale",
        frozenset((address,)),
        lambda model: merged(model, scale - 1),
        lambda model: merged(model, 1.0),
    )


def dropped_bias(ground: Ground) -> Fault | None:
    """A bias that is lost: there is none, or zeros."""
    address = ground.choose(lambda _, module: isinstance(getattr(module, "bias", None), Tensor))
    if address is None:
        return None
    get, gone = ground.at(address), ground.rng.random() < 0.5 and is_linear(address, ground.modules[address])

    def plant(model: nn.Module) -> None:
        if gone:
            get(model).bias = None
        else:
            get(model).bias.data.zero_()

    return Fault(f"{address} has {'no bias' if gone else 'a bias of zeros'}", frozenset((address,)), plant)


def nan(ground: Ground) -> Fault | None:
    """One value that is not a number, or infinite."""
    address = ground.choose(lambda at, module: is_linear(at, module) or is_norm(at, module))
    assert address is not None
    get, value = ground.at(address), ground.rng.choice((float("nan"), float("inf")))

    def plant(model: nn.Module) -> None:
        get(model).weight.data.view(-1)[3] = value

    return Fault(f"{value} in {address}", frozenset((address,)), plant)


def embedding_row(ground: Ground) -> Fault | None:
    """The embedding of one token is another's, or the whole table is off by one row."""
    get, shifted, read = ground.at("embed"), ground.rng.random() < 0.4, ground.rng.random() < 0.7
    size = weight_of(ground.modules["embed"]).shape[0]
    token = ground.rng.choice(ground.ids if read else sorted({*range(1, size)} - {*ground.ids}))

    def plant(model: nn.Module) -> None:
        weight = get(model).weight.data
        weight.copy_(weight.roll(1, 0).clone() if shifted else weight.index_copy(0, torch.tensor([token]), weight[:1]))

    return Fault("the table off by a row" if shifted else f"token {token} with another's row", _EMBED, plant)


_EMBED = frozenset(("embed",))


def final_norm(ground: Ground) -> Fault | None:
    """The last norm with the weights of another, or with none."""
    get, ones = ground.at("norm"), ground.rng.random() < 0.5
    shape = weight_of(ground.modules["norm"]).shape
    donor = ground.choose(lambda at, module: at != "norm" and is_norm(at, module) and weight_of(module).shape == shape)
    if donor is None:
        return None
    other = ground.at(donor)
    return Fault(
        "the last norm with ones" if ones else f"the last norm with the weights of {donor}",
        frozenset(("norm",)),
        lambda model: get(model).weight.data.fill_(1.0) if ones else get(model).weight.data.copy_(other(model).weight),
    )


def lost_tie(ground: Ground) -> Fault | None:
    """A head that was tied to the embedding, and has random weights or zeros of its own."""
    if getattr(ground.modules.get("lm_head"), "weight", None) is None:
        return None
    head, embed, source, zeros = ground.at("lm_head"), ground.at("embed"), ground.noise(), ground.rng.random() < 0.3
    if head(ground.model).weight.shape != embed(ground.model).weight.shape:
        return None

    def tie(model: nn.Module) -> None:
        head(model).weight = embed(model).weight

    def plant(model: nn.Module) -> None:
        shape = head(model).weight.shape
        head(model).weight = nn.Parameter(
            torch.zeros(shape) if zeros else 0.02 * torch.randn(shape, generator=source), requires_grad=False
        )

    return Fault(f"the tied head has {'zeros' if zeros else 'weights of its own'}", frozenset(("lm_head",)), plant, tie)


def _swapping(ground: Ground, one: str, other: str) -> Plant:
    first, second = ground.at(one), ground.at(other)

    def plant(model: nn.Module) -> None:
        for mine, its in zip(first(model).parameters(), second(model).parameters(), strict=True):
            mine.data, its.data = its.data, mine.data

    return plant


KINDS = {
    "one value of a weight": element,
    "a row of a weight": row,
    "noise in a weight": noise,
    "a weight scaled": scaled,
    "a weight quantised": quantised,
    "norms swapped": swapped_norms,
    "layers swapped": swapped_layers,
    "k and v swapped": keys_for_values,
    "heads permuted": permuted_heads,
    "a matrix transposed": transposed,
    "LoRA merged with another scale": merged_lora,
    "a bias dropped": dropped_bias,
    "NaN or infinity in a weight": nan,
    "a row of the embedding": embedding_row,
    "the final norm's weights": final_norm,
    "the tied head lost": lost_tie,
}
