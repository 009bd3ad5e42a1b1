"""Single operations of backward: which autograd node runs each, and which line of the forward made that node.

Autograd numbers the nodes of a thread as it makes them, each just before its operation runs. So an operation that is
seen in a forward belongs to the newest number, if no operation before it did. Nothing is asked of the graph, and
nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdbg.engine._compat import in_backward, newest_node, running_node
from llmdbg.models.stages import LOSS, WHOLE_MODEL, Stage, StageKind, gradient_address, op_address

if TYPE_CHECKING:
    from llmdbg.engine.model_frames import RunningModule
    from llmdbg.engine.stage_event import CodePlace

_MOST = 1 << 17


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What made an autograd node."""

    address: str
    """The module's, as in the addresses of its operations; `loss` for code that no module of the model runs."""
    path: str | None
    """The module's path in the tree; None for such code."""
    layer: int | None
    """The decoder layer it belongs to; None outside the layers."""
    depth: int
    """The depth of its operations."""
    code: CodePlace
    """The line, without its frame."""


class BackwardOps:
    """Remembers what made the newest nodes. `is_running_here()` says whether the calling code is to be stopped."""

    def __init__(self, is_running_here: Callable[[], bool]) -> None:
        self._is_running_here = is_running_here
        self._made: dict[int, MadeBy] = {}
        self._since = 0

    def begin(self) -> None:
        """Operations are seen from now on: what made the nodes before is not known."""
        self._since = newest_node() + 1
        self._made.clear()

    def note(self, module: RunningModule | None, place: Callable[[], CodePlace]) -> None:
        """An operation of a forward, or of code around it, is about to run. `place()` is its line."""
        node = newest_node()
        if node < self._since or node in self._made:
            return
        code = place()
        if module is None:
            self._made[node] = MadeBy(LOSS, None, None, 1, code)
        else:
            self._made[node] = MadeBy(module.address, module.path, module.layer, module.depth, code)
        if len(self._made) > _MOST:
            del self._made[next(iter(self._made))]

    def running(self) -> Any:
        """The node that runs here; None outside of a backward."""
        return running_node() if in_backward() and self._is_running_here() else None

    def made(self, node: Any) -> MadeBy | None:
        """What made a node; None if that was not seen."""
        return self._made.get(node._sequence_nr())

    def stage(self, node: Any, made: MadeBy | None) -> Stage:
        """The stage of a node's operations: `0.mlp.grad/MulBackward0`."""
        name = str(node.name()).rpartition("::")[2]
        address = op_address(gradient_address(WHOLE_MODEL if made is None else made.address), name)
        if made is None:
            return Stage(StageKind.OP, address)
        return Stage(StageKind.OP, address, made.path, made.layer, made.depth)
