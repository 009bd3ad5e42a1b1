"""A generation that several ranks run together, each with a part of the model's weights: a `Debuggee`.

Every rank runs the same debugger and the same commands. Its own forward suspends at the same stages as everyone else's,
so a stop of one is a stop of all. What a value decides (whether a condition holds, whether the generation is over) rank
0 decides, and tells the others. The values that a stop shows are whole ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.collectives import leaves_all_alike
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.generation.loop import DecodeLoop
from llmdbg.engine.layout import REPLICATED, Layout, layout_words, part_words
from llmdbg.engine.ranks.equality import fingerprints_of, told_apart
from llmdbg.engine.ranks.held import event_of, held_of
from llmdbg.engine.ranks.layouts import (
    CACHED,
    cache_address,
    layout_of,
    tensors_in,
    whole_shapes,
)
from llmdbg.engine.ranks.parts import split_parts, summand_of
from llmdbg.engine.ranks.ranked_stops import RankedStops
from llmdbg.engine.ranks.soundness import cache_unlike_ids, held_by, weights_unlike_files
from llmdbg.engine.ranks.whole import WholeValues, gathered, part_of, with_all_heads
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError, RanksPartedError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmdbg.engine.generation.ending import Ending
    from llmdbg.engine.ranks.world import World
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.engine.stops import Stops
    from llmdbg.engine.unequal import Fingerprints
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.attentions import KernelCall
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.tokens import Prompt

Meeting = Callable[[str], None]
"""Told before this rank waits for the others at the end of a command: how it failed here, empty if it did not."""


class RankedGeneration(Generation):
    """A generation on every rank of `world`. `at_meeting` hears of each meeting before this rank waits there."""

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Prompt,
        settings: GenerationSettings,
        anatomy: Anatomy | None = None,
        *,
        world: World,
        at_meeting: Meeting,
    ) -> None:
        self.world, self.ranks, self.own_rank = world, world.size, world.rank
        self._at_meeting = at_meeting
        self._differences: tuple[str, ...] = ()
        self._event: StageEvent | None = None
        self._rank: int | None = None
        self._held: tuple[StageEvent, Any, StageEvent] | None = None
        super().__init__(loaded, prompt, settings, anatomy)
        config = loaded.model.config
        self.shapes = whole_shapes(config, loaded.attn)
        self.values = {
            address: WholeValues(world, self.shapes[address])
            for address in self.anatomy.modules
            if address in self.shapes
        }
        heads = getattr(config.get_text_config(decoder=True), "num_attention_heads", 0)
        self._heads = heads if isinstance(heads, int) else 0
        self._stops.show(self.values, self._with_all_heads)
        self.place = f"{loaded.device} {loaded.dtype} on {world.size} ranks"

    def _armed_stages(self, model: PreTrainedModel) -> Stops:
        return RankedStops(model, self.anatomy, self._devices, self.world)

    def _decode_loop(self, token: int) -> DecodeLoop:
        loop = _RankedLoop(self.anatomy, self._stops, self._timeline, self._past, token, self._tokenizer)
        loop.world = self.world
        return loop

    def _with_all_heads(self, calls: tuple[KernelCall, ...]) -> tuple[KernelCall, ...]:
        return tuple(with_all_heads(self.world, each, self._heads) for each in calls)

    @property
    def cache(self) -> Any:
        """The KV cache as it is now, a copy; None if there is none (yet). Collective.

        With the heads of all ranks, or with those of the chosen one.
        """
        mine = super().cache
        layers = getattr(mine, "layers", None)
        if not layers:
            return mine
        whole = copy.copy(mine)
        whole.layers = [self._whole_layer(index, each) for index, each in enumerate(layers)]
        return whole

    def _whole_layer(self, index: int, layer: Any) -> Any:
        shapes = self.shapes.get(cache_address(index))
        if shapes is None or len(shapes.returns) != len(CACHED):
            return layer
        whole = copy.copy(layer)
        for name, shape in zip(CACHED, shapes.returns, strict=True):
            held = getattr(layer, name, None)
            if isinstance(held, torch.Tensor):
                layout = layout_of(held.shape, shape, self.world.rank, self.world.size)
                found = gathered(self.world, held, layout or REPLICATED)
                setattr(whole, name, found if self._rank is None else held_of(self.world, found, layout, self._rank))
        return whole

    @property
    def rank(self) -> int | None:
        """The rank whose own values are shown; None where whole ones are."""
        return self._rank

    def choose_rank(self, rank: int | None) -> None:
        """Show what one rank holds from now on, or whole values. Raises CommandError for one that is not there."""
        if rank is not None and rank >= self.world.size:
            raise CommandError(f"there is no rank {rank}: this run has ranks 0 to {self.world.size - 1}")
        self._rank, self._held = rank, None

    def as_held(self, event: StageEvent) -> StageEvent:
        """An event as the chosen rank holds it; as it is, whole, if none is chosen. Collective."""
        if self._rank is None:
            return event
        if self._held is None or self._held[0] is not event or self._held[1] is not event.output:
            view = self.values.get(event.stage.address)
            takes, returns = ((), ()) if view is None or event.stage.is_fine else (view.takes, view.returns)
            self._held = event, event.output, event_of(self.world, event, self._rank, takes, returns)
        return self._held[2]

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        """Yield an event at every suspension, as `Generation.events` does, and compare there what should be equal.

        Raises RanksPartedError if not all ranks are suspended at the same stage.
        """
        for event in super().events(token):
            self.world.reached = f"{event.stage.address}@{event.token}"
            self.differences(event)
            yield event
            self._held = None

    def differences(self, event: StageEvent) -> Sequence[str]:
        """What should be equal on all ranks and is not at an event, in sentences, the first one first. Collective."""
        if event is not self._event:
            self._event, self._differences = event, told_apart(self.world, self.fingerprints(event))
        return self._differences

    def fingerprints(self, event: StageEvent) -> Fingerprints:
        """Hashes of what should be equal on all ranks at an event, each with its name."""
        takes, returns = self._comparable(event)
        return fingerprints_of(
            event,
            takes=takes,
            returns=returns,
            ids=self._timeline.ids[: event.token],
            streams=torch.default_generator.get_state(),
            held=[_positions(each) for each in getattr(self._timeline.cache, "layers", ())],
        )

    def _comparable(self, event: StageEvent) -> tuple[Sequence[Layout | None] | None, Sequence[Layout | None] | None]:
        """How what a stage was given and what it returned lie, for `fingerprints_of`.

        Of lines and ops that is not known, except where a collective has left the same on all ranks.
        """
        if event.stage.is_fine:
            operation = "" if event.code is None else event.code.operation
            alike = leaves_all_alike(operation, event.args, self.world.size)
            return (), [REPLICATED for _ in tensors_in(event.output)] if alike else ()
        view = self.values.get(event.stage.address)
        return (None, None) if view is None else (view.takes, view.returns)

    def told(self, value: Any) -> Any:
        """What rank 0 has for `value`. Collective."""
        return self.world.told(value)

    def everyones(self, value: Any) -> Sequence[Any]:
        """What each rank has for `value`, in their order. Collective."""
        return self.world.everyones(value)

    def part(self, event: StageEvent) -> tuple[torch.Tensor | None, str]:
        """What this rank holds of the main output of an event, and which part of it that is, in words."""
        output, layout = main_tensor(event.output), self._main_layout(event)
        if output is None:
            return None, ""
        words = part_words(layout, self.world.rank)
        return output if layout is None else part_of(output, layout, self.world.rank), words

    def lies(self, event: StageEvent) -> tuple[Sequence[Layout | None], Sequence[Layout | None]] | None:
        """How the tensors of what a stage was given and of what it returned lie, in order.

        None for a stage that no module runs, and one whose whole shapes are not known: every rank holds all it has.
        """
        view = self.values.get(event.stage.address)
        return None if view is None else (tuple(view.takes), tuple(view.returns))

    def tensor_of(self, rank: int, mine: torch.Tensor) -> torch.Tensor:
        """A rank's tensor, a copy, on every rank. Collective."""
        return self.world.tensor_of(rank, mine)

    def own_parts(self, event: StageEvent) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
        """The parts of this rank of what is split of what a stage was given, and of what it returned."""
        view, rank = self.values.get(event.stage.address), self.world.rank
        if view is None:
            return [], []
        return split_parts(event.args, view.takes, rank), split_parts(event.output, view.returns, rank)

    def own_summand(self, event: StageEvent) -> torch.Tensor | None:
        """What this rank added to what a stage returned, computed again; None where that is no such sum."""
        given, returned = self.own_parts(event)
        if len(given) != 1 or returned:
            return None
        return summand_of(self.anatomy.modules.get(event.stage.address), given[0])

    def layout(self, event: StageEvent) -> str:
        """How the main output of an event lies on the ranks, in words; empty where there is nothing to say.

        The value of a line or an op is that of the rank that shows it.
        """
        if main_tensor(event.output) is None:
            return ""
        if event.stage.is_fine:
            return "" if self._rank is not None else "rank 0's own"
        return layout_words((self._main_layout(event),))

    def layouts(self, event: StageEvent) -> tuple[str, str]:
        """How what a stage was given and what it returned lie on the ranks, in words."""
        view = self.values.get(event.stage.address)
        if event.stage.is_fine:
            return ("each rank's own", "each rank's own")
        if view is None:
            return (layout_words((REPLICATED,)), layout_words((REPLICATED,)))
        return layout_words(view.takes), layout_words(view.returns)

    def _main_layout(self, event: StageEvent) -> Layout | None:
        view = self.values.get(event.stage.address)
        if view is None:
            return None if event.stage.is_fine else REPLICATED
        return view.returns[0] if view.returns else None

    def forward_of(self, address: str) -> Callable[..., Any]:
        """What runs a stage's module on whole values, without its hooks; see `WholeValues.forward`."""
        view, module = self.values.get(address), self.anatomy.modules[address]
        return module.forward if view is None else lambda *args, **kwargs: view.forward(module, args, kwargs)

    def unlike_files(self) -> tuple[list[str], int, int]:
        """Compare this rank's part of the weights with their files; see `soundness.py`."""
        return weights_unlike_files(self._model, self.world.rank, self.world.size)

    def held(self) -> Any:
        """What this rank holds of the KV cache, copied."""
        held = held_by(self._timeline.cache)
        return {layer: {name: each.clone() for name, each in tensors.items()} for layer, tensors in held.items()}

    def unlike_ids(self, ids: Sequence[int], held: Any) -> list[tuple[int, str]]:
        """Where `held` is not what `ids` give; see `soundness.py`. Collective. No run may be active."""
        return cache_unlike_ids(self._model, ids, held, self.world.rank)

    def meet(self, failed: str) -> None:
        """Wait for the other ranks at the end of a command. Raises RanksPartedError if it went otherwise there."""
        self._at_meeting(failed)
        event = self._event
        place = "" if event is None else f"{event.stage.address}@{event.token}"
        everyones = self.world.everyones((place, failed))
        if len(set(everyones)) == 1:
            return
        rank = next(rank for rank, each in enumerate(everyones) if each != everyones[0])
        (zeroth, how), (there, other) = everyones[0], everyones[rank]
        if how != other:
            raise RanksPartedError(
                f"the ranks have parted: {f'rank {rank} failed ({other})' if other else f'rank 0 failed ({how})'} at "
                f"{there if other else zeroth}, and {'rank 0' if other else f'rank {rank}'} did not"
            )
        raise RanksPartedError(f"the ranks have parted: rank 0 stands at {zeroth}, and rank {rank} at {there}")

    def reopened(self, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings) -> Generation:
        """Another generation of these ranks; of a model that is not split, one by this rank alone."""
        if getattr(loaded.model, "tp_size", None) in (None, 1):
            return Generation(loaded, prompt, settings)
        return RankedGeneration(loaded, prompt, settings, world=self.world, at_meeting=self._at_meeting)

    def untouched(self, tokens: int) -> tuple[list[int], list[int]]:
        """Run the unmodified `generate()` on every rank; see `Generation.untouched`. Collective."""
        return super().untouched(tokens)


class _RankedLoop(DecodeLoop):
    """The decode loop of ranks: all end together, when rank 0 does."""

    world: World

    def _end(self, input_ids: torch.Tensor, criteria: Any) -> Ending | None:
        return self.world.told(super()._end(input_ids, criteria))


def _positions(layer: Any) -> int:
    """How many positions a layer of the cache holds; -1 if it does not say."""
    keys = getattr(layer, "keys", None)
    return int(keys.shape[-2]) if isinstance(keys, torch.Tensor) and keys.dim() > 2 else -1
