"""Stops in backward: at gradients with respect to what modules returned, and to parameters.

- While a gradient is armed, each module has a forward hook that puts a hook on the tensor it returned, where that takes
  part in a gradient; each armed parameter has one for when its gradient has been accumulated. Armed once a forward has
  run, gradients are seen from the next one on.
- These hooks return nothing, unless there is an edit: autograd goes on with the gradient itself.
- Autograd runs the backward of tensors on the CPU in the calling thread, where it can be suspended, and that of others
  in threads of its own, where it cannot. Without its multithreading it runs all of them in the calling thread, with the
  same kernels in the same order.
- A forward that checkpointing runs again in backward is followed too: in some, only its outputs have gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import Tensor

from llmdbg.engine._compat import in_backward, untraced
from llmdbg.engine.stage_event import main_tensor
from llmdbg.models.stages import (
    ANY_GRADIENT,
    LOSS,
    Stage,
    StageKind,
    gradient_address,
    gradient_of,
    gradients_among,
    reaches,
)

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from llmdbg.models.anatomy import Anatomy

OnGradient = Callable[[Stage, Tensor, tuple[str, ...], bool], Tensor]
"""Handles a gradient: its stage, its value, what it has come through (`StageEvent.through`), and whether it is a
parameter's. Returns the value, edited or not."""

_Key = tuple[int, int]

_VIEWS = ("Slice", "View", "UnsafeView", "ReshapeAlias", "Transpose", "Permute", "TBackward", "Unsqueeze", "Squeeze")
"""How the names begin of the nodes that give a view of a tensor."""


class _Output:
    """A tensor of a forward: the modules that returned it, innermost first, and those that took it."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.takers: list[str] = []


class GradientStops:
    """The armed gradients of a program's models.

    `is_running_here()` says whether the calling code is the program's, `is_inside()` whether a forward of one of its
    models is running. `reached` is called in backward and may suspend it.
    """

    def __init__(
        self,
        devices: Collection[torch.device],
        is_running_here: Callable[[], bool],
        is_inside: Callable[[], bool],
        reached: OnGradient,
    ) -> None:
        self._is_running_here, self._is_inside, self._reached = is_running_here, is_inside, reached
        self._threaded = any(each.type != "cpu" for each in devices)
        self._anatomies: list[Anatomy] = []
        self._armed: frozenset[str] = frozenset()
        self._modules: list[RemovableHandle] = []
        self._parameters: dict[str, RemovableHandle] = {}
        self._outputs: dict[_Key, _Output] = {}
        self._multithreading: bool | None = None
        self.newest: Stage | None = None
        """The gradient that was computed last of the newest forward; None before the first, and where none is armed."""

    @property
    def armed(self) -> bool:
        """Whether any gradient is armed."""
        return bool(self._armed)

    def include(self, anatomy: Anatomy) -> None:
        """Follow the modules of one more model."""
        self._anatomies.append(anatomy)
        if self._armed:
            self._hook_modules(anatomy)
            self._hook_parameters()

    def arm(self, addresses: frozenset[str]) -> None:
        """Stop at exactly the gradients among `addresses` from the next forward on."""
        wanted = gradients_among(addresses)
        if wanted == self._armed:
            return
        before, self._armed = self._armed, wanted
        if wanted and not before:
            for anatomy in self._anatomies:
                self._hook_modules(anatomy)
        elif not wanted:
            self._remove(self._modules)
            self._outputs.clear()
        self._hook_parameters()
        self.sync()

    def begin_forward(self) -> None:
        """An outermost forward begins."""
        self._outputs.clear()
        self.newest = None
        # What is frozen may have changed.
        self._hook_parameters()
        self.sync()

    def sync(self) -> None:
        """Let backward run in this thread alone while a gradient is armed. A backward puts back what it began with."""
        if not self._threaded or (not self._armed and self._multithreading is None):
            return
        if self._multithreading is None:
            self._multithreading = torch._C._is_multithreading_enabled()
        wanted = self._multithreading and not self._armed
        if torch._C._is_multithreading_enabled() is not wanted:
            torch.autograd.set_multithreading_enabled(wanted)
        if not self._armed and not in_backward():
            self._multithreading = None

    def end(self) -> None:
        """Remove every hook on modules and parameters; those in graphs that are kept do nothing any more."""
        self.arm(frozenset())

    def returned(self, logits: Stage, output: Any) -> None:
        """Follow what a whole model returned: its loss and its logits. `logits` is its stage of that name."""
        if not self._armed or not torch.is_grad_enabled():
            return
        prefix = logits.address.removesuffix(StageKind.LOGITS)
        for name, tensor in _loss_and_logits(output):
            self._follow(Stage(StageKind.GRADIENT, gradient_address(f"{prefix}{name}")), tensor)

    def _hook_modules(self, anatomy: Anatomy) -> None:
        for address, module in anatomy.modules.items():
            stage = anatomy.stage(address)
            gradient = Stage(StageKind.GRADIENT, gradient_address(address), stage.module, stage.layer, stage.depth)
            self._modules.append(
                module.register_forward_pre_hook(untraced(self._taking(module, address)), with_kwargs=True)
            )
            self._modules.append(module.register_forward_hook(untraced(self._returning(module, gradient))))

    def _taking(self, own: nn.Module, address: str) -> Callable[..., None]:
        def take(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # A copy of the model carries copies of its hooks.
            if module is not own or not self._follows():
                return
            for each in (*args, *kwargs.values()):
                if isinstance(each, Tensor) and (output := self._taken(each)) is not None:
                    output.takers.append(address)

        return take

    def _taken(self, tensor: Tensor) -> _Output | None:
        """The output of a module that a tensor is, or is a view of."""
        node, key = tensor.grad_fn, _key(tensor)
        while key not in self._outputs and node is not None and str(node.name()).startswith(_VIEWS):
            node, number = node.next_functions[0]
            key = None if node is None else (node._sequence_nr(), number)
        return None if key is None else self._outputs.get(key)

    def _returning(self, own: nn.Module, gradient: Stage) -> Callable[..., None]:
        def leave(module: nn.Module, _args: Any, output: Any) -> None:
            if module is own and self._follows() and (tensor := main_tensor(output)) is not None:
                self._follow(gradient, tensor)

        return leave

    def _follows(self) -> bool:
        """Whether a forward that runs is to be followed."""
        return torch.is_grad_enabled() and self._is_running_here() and (self._is_inside() or in_backward())

    def _follow(self, stage: Stage, tensor: Tensor) -> None:
        key = _key(tensor)
        if key is None:
            return
        output = self._outputs.get(key)
        if output is None:
            output = self._outputs[key] = _Output()
            tensor.register_hook(_arriving(ref(self), output))  # type: ignore[no-untyped-call]
        output.stages.append(stage)

    def arrived(self, output: _Output, gradient: Tensor) -> Tensor:
        """Handle the gradient of an output, once for each module that returned it, outermost first."""
        if not self._armed or not self._is_running_here():
            return gradient
        through = tuple(self._through(output))
        self.newest = output.stages[0]
        for stage in reversed(output.stages):
            if reaches(self._armed, stage.address):
                gradient = self._shown(stage, gradient, through, accumulated=False)
        return gradient

    def _shown(self, stage: Stage, gradient: Tensor, through: tuple[str, ...], *, accumulated: bool) -> Tensor:
        """Reach a gradient. A sparse one, as of `nn.Embedding(sparse=True)`, is shown dense and stays sparse."""
        if gradient.layout is torch.strided:
            return self._reached(stage, gradient, through, accumulated)
        dense = gradient.to_dense()
        edited = self._reached(stage, dense, through, accumulated)
        return gradient if edited is dense else edited.to_sparse(gradient.sparse_dim())

    def _through(self, output: _Output) -> Iterator[str]:
        """What took an output, innermost alone, and what contains it and does more with it than pass it on."""
        last = output.stages[-1]
        if last.module is None:
            yield from () if gradient_of(last.address) == LOSS else ("the loss",)
            return
        returning = [gradient_of(each.address) or "" for each in output.stages]
        takers = dict.fromkeys(each for each in output.takers if each not in returning)
        yield from (each for each in takers if not any(other.startswith(f"{each}.") for other in takers))
        around = returning[-1].rpartition(".")[0]
        if not takers or any(other.startswith(f"{each}.") for each in takers for other in takers):
            outer = next((each for each in takers if any(o.startswith(f"{each}.") for o in takers)), around)
            yield f"{outer or 'the model'} itself"

    def _hook_parameters(self) -> None:
        wanted = dict(self._wanted_parameters())
        for address in self._parameters.keys() - wanted.keys():
            self._parameters.pop(address).remove()
        for address, (stage, parameter) in wanted.items():
            if address not in self._parameters and parameter.requires_grad and parameter.is_leaf:
                hook = self._accumulating(stage)
                self._parameters[address] = parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    def _wanted_parameters(self) -> Iterator[tuple[str, tuple[Stage, nn.Parameter]]]:
        """The armed parameters; one that several modules share once."""
        seen: set[nn.Parameter] = set()
        everything = ANY_GRADIENT.address in self._armed
        for anatomy in self._anatomies if self._armed else ():
            for at, module in anatomy.modules.items():
                for name, parameter in module._parameters.items():
                    address = gradient_address(f"{at}.{name}")
                    if parameter is None or not (address in self._armed or (everything and parameter not in seen)):
                        continue
                    seen.add(parameter)
                    stage = anatomy.stage(at)
                    yield (
                        address,
                        (Stage(StageKind.GRADIENT, address, stage.module, stage.layer, stage.depth + 1), parameter),
                    )

    def _accumulating(self, stage: Stage) -> Callable[[Tensor], None]:
        through = (stage.address.rpartition(".")[0].rpartition(".")[0],)

        def accumulated(parameter: Tensor) -> None:
            gradient = parameter.grad
            if gradient is None or not self._is_running_here():
                return
            edited = self._shown(stage, gradient, through, accumulated=True)
            if edited is not gradient:
                parameter.grad = edited

        return accumulated

    @staticmethod
    def _remove(handles: list[RemovableHandle]) -> None:
        for handle in handles:
            handle.remove()
        handles.clear()


def _arriving(stops: ref[GradientStops], output: _Output) -> Callable[[Tensor], Tensor | None]:
    def arrive(gradient: Tensor) -> Tensor | None:
        alive = stops()
        if alive is None or not isinstance(gradient, Tensor):
            return None
        left = alive.arrived(output, gradient)
        return None if left is gradient else left

    return arrive


def _key(tensor: Tensor) -> _Key | None:
    """What tells a tensor of the graph from others of this thread; None if no gradient flows through it."""
    node = tensor.grad_fn
    return None if node is None else (node._sequence_nr(), tensor.output_nr)


def _loss_and_logits(output: Any) -> Iterator[tuple[str, Tensor]]:
    """A loss is a single number; the logits are the first tensor that is none."""
    if isinstance(output, dict):
        named = {name: output.get(name) for name in (LOSS, str(StageKind.LOGITS))}
        found = [(name, each) for name, each in named.items() if isinstance(each, Tensor)]
        if found:
            yield from found
            return
    several = output if isinstance(output, (tuple, list)) else [main_tensor(output)]
    for each in several[:2]:
        if isinstance(each, Tensor):
            yield (LOSS if each.dim() == 0 else str(StageKind.LOGITS)), each
            if each.dim():
                return
