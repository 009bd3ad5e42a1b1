"""Addresses: from what the user types to the stages it names.

12   layer 12   12.self_attn   12.mlp.down_proj   embed   norm   logits   sample   sample.top_p   model.rotary_emb
*.mlp            every layer's mlp
8-15   8-15.mlp  a range of layers, or of their modules
ADDRESS@5        only while producing generated token 5
ADDRESS@prefill  only in the prefill, which produces token 0; @decode in every later forward

Lines and ops (`12.self_attn:174`, `modeling_llama.py:174`, `12.self_attn/softmax`, `op softmax*`): `fine_addresses.py`.
Gradients (`12.mlp.grad`): `gradient_addresses.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from llmdbg.debugger.limits import MOST_ADDRESS
from llmdbg.errors import AddressError
from llmdbg.formatting import listed, near_matches
from llmdbg.models.stages import FINE, SAMPLE, TOKENIZE, Phase, StageKind, gradient_of, line_parts, op_parts, reaches

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.fine_addresses import FineAddresses
    from llmdbg.debugger.breakpoints.gradient_addresses import GradientAddresses
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage

_AT_TOKEN = re.compile(r"(?P<place>.*)@\s*(?P<token>\d{1,9})")
_AT_PHASE = re.compile(rf"(?P<place>.*)@\s*(?P<phase>{Phase.PREFILL}|{Phase.DECODE})")
_LAYER_WORD = re.compile(r"layers?\s+(?=[\d*])")
_RANGE = re.compile(r"(?P<first>\d{1,9})-(?P<last>\d{1,9})")


class StageGroup(StrEnum):
    """Groups of stages that every model has and no single address names."""

    EVERYTHING = "everything"
    """Every stage but `tokenize`, which has no tensor."""
    LAYERS = "layers"
    """Every decoder layer."""
    SAMPLE = "sample"
    """Where a token is chosen."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an address names: one or more stages, at one generated token, in one phase, or at any token."""

    text: str
    """The address as the user typed it."""
    addresses: frozenset[str]
    """The addresses of the stages it names, never empty."""
    token: int | None = None
    """The generated token it is limited to, counted from 0; None for any."""
    phase: Phase | None = None
    """The phase it is limited to; None for any."""

    def at(self, token: int) -> bool:
        """Whether it covers generated token `token`."""
        in_phase = self.phase is None or (self.phase is Phase.PREFILL) == (token == 0)
        return in_phase and self.token in (None, token)

    def names(self, stage: Stage) -> bool:
        """Whether it names a stage, alone or among others."""
        return stage.address in self.addresses or (stage.is_fine and reaches(self.addresses, stage.address))


class AddressBook:
    """Looks up the stages of a run by address, module path, pattern or range."""

    def __init__(
        self,
        anatomy: Anatomy,
        processors: Sequence[Stage] = (),
        *,
        counts_tokens: bool = True,
        finer: FineAddresses | None = None,
        gradients: GradientAddresses | None = None,
    ) -> None:
        """`counts_tokens` is False if nothing says which token is being produced: then `@5` is refused.

        `finer` looks up lines and ops, `gradients` those; None if there are none.
        """
        self._counts_tokens = counts_tokens
        self._finer = finer
        self._gradients = gradients
        self._stages = [*anatomy.stages, *processors]
        self._by_address = {stage.address: stage for stage in self._stages}
        self._by_module = {stage.module: stage for stage in self._stages if stage.module}
        self._layers = frozenset(stage.address for stage in anatomy.layers())
        self._layer_count = len(self._layers)

    def resolve(self, text: str, *, fine: bool = False) -> Target:
        """Return the stages that `text` names. Raises AddressError, with the nearest name if any is near, for none.

        Lines and ops are refused unless `fine`.
        """
        if len(text.strip()) > MOST_ADDRESS:
            raise AddressError(f"an address has at most {MOST_ADDRESS} characters, and this one {len(text.strip())}")
        place, token, phase = text.strip(), None, None
        if in_phase := _AT_PHASE.fullmatch(place):
            place, phase = in_phase["place"].strip(), Phase(in_phase["phase"])
        elif at := _AT_TOKEN.fullmatch(place):
            place, token = at["place"].strip(), int(at["token"])
        elif "@" in place:
            raise AddressError(f"what follows @ in {text!r} must be the number of a generated token, or a phase: 12@5")
        if token is not None and not self._counts_tokens:
            raise AddressError(f"{text.strip()} cannot name a token: nothing here says which one is being produced")
        place = _LAYER_WORD.sub("", place)
        found = self._find(place)
        if not found and (finer := self._find_finer(place)) is not None:
            if not fine:
                what = "a gradient" if gradient_of(place) is not None else "finer than a module"
                raise AddressError(f"{text.strip()} is {what}: `break`, `trace`, `until` and `goto` take it")
            return Target(text.strip(), finer, token, phase)
        if not found:
            raise AddressError(self._nothing_named(place or text))
        return Target(text.strip(), frozenset(stage.address for stage in found), token, phase)

    def group(self, group: StageGroup) -> frozenset[str]:
        """The addresses of a group. Raises AddressError for the layers of a model with fewer than two."""
        if group is StageGroup.SAMPLE:
            return frozenset((SAMPLE.address,))
        if group is StageGroup.EVERYTHING:
            return frozenset(self._by_address) - {TOKENIZE.address}
        if self._layer_count < 2:
            raise AddressError(f"there are no two layers to compare in what runs here: it has {self._layer_count}")
        return self._layers

    def one_stage(self) -> str:
        """A stage to name in an example: the first layer, or without any the last stage of a forward."""
        place = next((stage for stage in self._stages if stage.address in self._layers), None)
        return SAMPLE.address if place is None else place.address

    def kinds(self, target: Target) -> tuple[StageKind, ...]:
        """The distinct kinds of a target's stages, in stage order. Stages that this run does not have are left out."""
        whole = (stage.kind for stage in self._stages if stage.address in target.addresses)
        finer = set(map(_kind_of_finer, target.addresses))
        fine = (kind for kind in FINE if kind in finer)
        return tuple(dict.fromkeys((*whole, *fine)))

    def gradients(self) -> tuple[str, ...]:
        """The addresses of gradients with respect to what modules return; none where none are stopped at."""
        return () if self._gradients is None else self._gradients.all()

    def locals_at(self, target: Target) -> frozenset[str] | None:
        """The local variables of the code at a target's lines; None where these are not all single lines."""
        return None if self._finer is None else self._finer.locals_at(target.addresses)

    def _find(self, place: str) -> list[Stage]:
        if exact := self._by_address.get(place):
            return [exact]
        first, _, rest = place.partition(".")
        if numbers := _RANGE.fullmatch(first):
            return self._find_range(int(numbers["first"]), int(numbers["last"]), rest)
        if any(character in place for character in "*?["):
            return [stage for stage in self._stages if _matches(stage.address, place)]
        # The logits stage shares the head's module, whose path is an address already.
        by_module = self._by_module.get(place)
        return [by_module] if by_module else []

    def _find_finer(self, place: str) -> frozenset[str] | None:
        """The gradients, the lines or the ops that an address names; None if it is no such address."""
        for each in (self._gradients, self._finer):
            found = (
                None if each is None else each.find(place, lambda name: [stage.address for stage in self._find(name)])
            )
            if found is not None:
                return found
        return None

    def _find_range(self, first: int, last: int, rest: str) -> list[Stage]:
        if not first <= last < self._layer_count:
            return []
        wanted = [f"{layer}.{rest}" if rest else str(layer) for layer in range(first, last + 1)]
        return [stage for stage in self._stages if any(_matches(stage.address, each) for each in wanted)]

    def _nothing_named(self, place: str) -> str:
        line = f"no stage is called {place!r}"
        numbers = [int(number) for number in re.findall(r"\b\d{1,9}\b", place.partition(".")[0])]
        if numbers and max(numbers) >= self._layer_count > 0:
            of_others = sorted(
                each for each in self._by_address if re.fullmatch(rf"model\d+\.{re.escape(place)}", each)
            )
            hint = f"; another model of the program has {of_others[0]!r}" if of_others else ""
            return f"{line}: the layers of this model are 0 to {self._layer_count - 1}{hint}"
        known = {name: name for name in (*self._by_address, *self._by_module)}
        if "." not in place:
            # `mpl` is more likely a typo for `0.mlp` than for `sample`.
            known = {address.rpartition(".")[2]: address for address in reversed(self._by_address)} | known
        if near := near_matches(place, known):
            return f"{line}: the nearest is {known[near[0]]!r}"
        # One of each kind, to show how stages are called.
        kinds = {stage.kind: repr(stage.address) for stage in reversed(self._stages)}
        return f"{line}: there are, among others, {listed(list(kinds.values())[::-1])}"


def _kind_of_finer(address: str) -> StageKind | None:
    if gradient_of(address) is not None:
        return StageKind.GRADIENT
    return StageKind.LINE if line_parts(address) else StageKind.OP if op_parts(address) else None


def _matches(address: str, pattern: str) -> bool:
    """Match part by part, so that `*` stands for one name and never for a whole path."""
    parts, wanted = address.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
