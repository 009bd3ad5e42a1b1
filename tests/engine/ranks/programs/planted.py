"""A batch on the ranks of a torchrun with a fault planted on one of them: `planted.py FAULT FOLDER SEED COMMAND…`.

Everything but the fault is what `python -m llmdbg` does.
"""

import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[4]))

from llmdbg import cli
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends import opening
from llmdbg.frontends.batch.checks import parse_commands
from llmdbg.frontends.batch.launch import run_commands
from llmdbg.frontends.ranks import Ranks


def perturbed_norm(model: Any, rank: int) -> None:
    """A weight that all ranks hold alike is another on rank 1."""
    if rank == 1:
        with torch.no_grad():
            model.model.layers[1].input_layernorm.weight[3] += 0.5


def perturbed_shard(model: Any, rank: int) -> None:
    """A weight of the part that rank 1 holds is another than in the file."""
    if rank == 1:
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight.to_local()[2, 5] += 0.25


def missing_all_reduce(model: Any, _rank: int) -> None:
    """One projection leaves each rank with its own part of the sum."""
    projection = model.model.layers[1].self_attn.o_proj
    projection.forward = lambda hidden: nn.functional.linear(hidden, projection.weight.to_local())


def other_seed(_model: Any, rank: int) -> None:
    """Rank 1 draws from another stream."""
    seed = torch.manual_seed

    def other(number: int) -> torch.Generator:
        return seed(number + rank)

    torch.manual_seed = other  # type: ignore[assignment]


def stale_cache(model: Any, rank: int) -> None:
    """Rank 1 keeps the keys of the newest position in layer 1 as they were for the position before."""
    if rank != 1:
        return

    def stale(_module: nn.Module, _args: object, kwargs: dict[str, Any], _output: object) -> None:
        keys = kwargs["past_key_values"].layers[1].keys
        keys[:, :, -1] = keys[:, :, -2]

    model.model.layers[1].self_attn.register_forward_hook(stale, with_kwargs=True)


def short_cache(model: Any, rank: int) -> None:
    """Rank 1 loses the newest position of layer 1's cache."""
    if rank != 1:
        return

    def cut(_module: nn.Module, _args: object, kwargs: dict[str, Any], _output: object) -> None:
        layer = kwargs["past_key_values"].layers[1]
        layer.keys, layer.values = layer.keys[:, :, :-1], layer.values[:, :, :-1]

    model.model.layers[1].self_attn.register_forward_hook(cut, with_kwargs=True)


def another_collective(model: Any, rank: int) -> None:
    """Rank 1 sums something with the others that they do not sum."""

    def add(*_: object) -> None:
        torch.distributed.all_reduce(torch.zeros(1))

    if rank == 1:
        model.model.layers[1].mlp.register_forward_hook(add)


def not_a_number_in_a_sum(model: Any, rank: int) -> None:
    """What rank 1 gives to a projection whose parts are summed is NaN at one position, by code that is no module."""
    if rank == 1:
        _before_down_proj(model, float("nan"))


def overflow_in_a_sum(model: Any, rank: int) -> None:
    """What rank 1 gives to that projection is finite, and overflows in its part of the product."""
    if rank == 1:
        _before_down_proj(model, 3e38)


def _before_down_proj(model: Any, value: float) -> None:
    """Give the projection other values at the last position."""
    mlp = model.model.layers[1].mlp

    def forward(hidden: torch.Tensor) -> Any:
        part = mlp.act_fn(mlp.gate_proj(hidden)) * mlp.up_proj(hidden)
        part[..., -1, :] = value
        return mlp.down_proj(part)

    mlp.forward = forward


def late(model: Any, rank: int) -> None:
    """Rank 1 comes late to the sum of what one projection makes. No fault."""
    projection = model.model.layers[1].mlp.down_proj
    forward = projection.forward

    def slow(*arguments: Any) -> Any:
        time.sleep(0.5)
        return forward(*arguments)

    if rank == 1:
        projection.forward = slow


def failing(model: Any, rank: int) -> None:
    """The forward fails on rank 1 alone."""

    def fail(*_: object) -> None:
        raise ValueError("planted")

    if rank == 1:
        model.model.layers[1].mlp.register_forward_pre_hook(fail)


def not_a_number_in_a_copy(model: Any, rank: int) -> None:
    """What all ranks hold whole is not finite on rank 1, after the sum of an MLP over all ranks."""
    if rank == 1:
        model.model.layers[1].mlp.register_forward_hook(_poisoned)


def not_a_number_in_the_logits(model: Any, rank: int) -> None:
    """The logits of rank 1 are not finite."""
    if rank == 1:
        model.lm_head.register_forward_hook(_poisoned)


def _poisoned(_module: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
    output = output.clone()
    output[..., -1, 3] = float("nan")
    return output


def not_a_number(model: Any, rank: int) -> None:
    """The part of rank 1 has a NaN."""
    if rank == 1:
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight.to_local()[2, 5] = float("nan")


def no_room(_model: Any, rank: int) -> None:
    """Rank 1 cannot write large files."""
    if rank == 1:
        _limit_files()


def no_room_at_rank_0(_model: Any, rank: int) -> None:
    """Rank 0 cannot."""
    if rank == 0:
        _limit_files()


def _limit_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, most))


def none(_model: Any, _rank: int) -> None:
    """No fault."""


def run(ranks: Ranks, fault: str, folder: str, seed: str, commands: list[str]) -> None:
    """Load, plant, and run the commands."""
    from llmdbg.debugger.persistence.model import begin
    from llmdbg.models.spec import ModelSpec

    spec, temperature = ModelSpec(folder), None if seed == "0" else 1.5
    settings = GenerationSettings(max_new_tokens=6, seed=int(seed), greedy=seed == "0", temperature=temperature)
    debuggee = opening.open_generation(
        spec, "The quick brown", settings, chat=False, system=None, report=lambda _: None, ranks=ranks
    )
    globals()[fault](debuggee.loaded.model, ranks.place.rank)
    begun = begin(spec, "The quick brown", settings)
    run_commands(debuggee, parse_commands(commands), json=False, keep=partial(ranks.keep, begun=begun))


def main() -> int:
    """Run as `llmdbg` does, whose way to end this takes."""
    fault, folder, seed, *commands = sys.argv[1:]

    def do(_arguments: object, ranks: Ranks) -> int:
        run(ranks, fault, folder, seed, commands)
        return ranks.end()

    cli._do = do  # type: ignore[assignment]
    return cli.main([])


if __name__ == "__main__":
    sys.exit(main())
