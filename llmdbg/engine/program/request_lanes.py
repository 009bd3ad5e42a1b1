"""The lanes of a vLLM engine's forwards: each request is one, told apart by its id and not by its place.

Requests come and go from one forward to the next, and some run over their prompt while others run over one position.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmdbg.engine.lanes import LaneFacts
from llmdbg.engine.program.lanes import Lane, Lanes

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.program.arguments import Reading
    from llmdbg.engine.program.request_rows import RequestRows


@dataclass(slots=True)
class _Fed:
    """A request of the current forward, and the flattened ids (rows,) of the forwards that it was in."""

    lane: Lane
    waiting: list[tuple[int, Tensor]] = field(default_factory=list)
    every: list[int] = field(default_factory=list)
    drafted: int = 0

    def look(self) -> Lane:
        if not self.waiting:
            return self.lane
        for first, ids in self.waiting:
            # What was drafted there and dropped again goes; a prompt that is fed in parts stays.
            del self.every[max(first, self.lane.prompt) :]
            self.every[first : first + len(ids)] = ids.tolist()
        self.waiting.clear()
        self.lane.ids[:] = self.every[: len(self.every) - self.drafted]
        return self.lane


class RequestLanes(Lanes):
    """The requests of one vLLM model. Those that are in no forward any more are forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self._fed_to: dict[str, _Fed] = {}
        self._requests: tuple[RequestRows, ...] = ()
        self._chosen: Tensor | None = None

    def take(self, reading: Reading) -> None:
        """Note what a forward is fed. Does not wait for the device."""
        before, self._fed_to = self._fed_to, {}
        for each in reading.requests:
            known = before.get(each.name) if each.first else None
            fed = known or _Fed(Lane([*each.prompt], len(each.prompt) or each.length), every=[*each.prompt])
            fed.drafted = each.drafted
            self._fed_to[each.name] = fed
            if reading.ids is not None:
                fed.waiting.append((each.first, reading.ids[0, each.rows].detach().clone()))
        self._requests, self._chosen = reading.requests, None

    def chose(self, ids: Tensor) -> None:
        """Note the ids (requests, 1) that the sampler has chosen, which may be fed to nothing."""
        self._chosen = ids

    def end(self) -> None:
        """The requests are fed no more: each ends with what was chosen for it last. Waits for the device."""
        chosen, self._chosen = self._chosen, None
        for at, [id] in enumerate([] if chosen is None else chosen.tolist()):
            if self._requests[at].produces:
                self.lane(at).ids.append(id)

    def following(self, reading: Reading) -> tuple[int | None, ...]:
        """The id by which a forward that is not fed yet makes each request longer; None where it does not."""
        coming = {each.name: each for each in reading.requests}
        return tuple(self._added(each.name, coming.get(each.name), reading) for each in self._requests)

    def _added(self, name: str, request: RequestRows | None, reading: Reading) -> int | None:
        if request is None or reading.ids is None or request.length - request.drafted != 1:
            return None
        return int(reading.ids[0, request.rows][0]) if request.first == len(self._fed_to[name].look().ids) else None

    def lane(self, index: int) -> Lane:
        """A request's ids; an empty lane if there is none. Waits for the device if there is something new."""
        return self._fed_to[self._requests[index].name].look() if index < len(self._requests) else Lane()

    def count(self) -> int:
        """How many requests the current forward has."""
        return len(self._requests)

    def facts(self) -> tuple[LaneFacts, ...]:
        """Each request's id, prompt, ids and rows. Waits for the device."""
        lanes = (self.lane(at) for at in range(len(self._requests)))
        return tuple(
            LaneFacts(
                padding=0,
                prompt=lane.prompt,
                prompt_ids=tuple(lane.ids[: lane.prompt]),
                ids=tuple(lane.ids[lane.prompt :]),
                request=each.name,
                rows=(each.rows.start, each.rows.stop),
            )
            for each, lane in zip(self._requests, lanes, strict=True)
        )
