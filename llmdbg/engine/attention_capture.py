"""Hearing what an attention's kernel is called with, whichever kernel it is, without changing anything.

- While an attention that is listened to runs, a `TorchFunctionMode` sees the torch functions it calls. A fused kernel
  is heard by its arguments; an eager attention by its softmax, whose output is the weights themselves.
- A kernel that calls neither (flash, flex, a user's own) is reached through transformers' `AttentionInterface`: while
  the attention runs, each function there first notes its arguments, and then is called as ever.
- What is heard is references to tensors that the forward holds anyway, and they go with the event.
- A forward that fails, or is given up in the middle, leaves nothing behind: the mode belongs to the greenlet, and the
  interface is put back by `forget`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from llmdbg.models.attentions import KernelCall

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from llmdbg.models.anatomy import Anatomy

_FUSED = functional.scaled_dot_product_attention
_FUSED_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_SOFTMAXES = frozenset((functional.softmax, torch.softmax, Tensor.softmax))
_PRODUCTS = frozenset(
    (
        *(torch.matmul, torch.bmm, torch.baddbmm, torch.einsum),
        *(Tensor.matmul, Tensor.bmm, Tensor.baddbmm, Tensor.__matmul__),
    )
)
_INTERFACE_NAMES = ("module", "query", "key", "value", "attention_mask")
_COMPILED = "flex_attention"
"""Compiled by torch, which looks at the modes that are active."""

_LARGEST_KEPT = 2**26
"""Numbers. Of an eager attention's weights, if they are more, only the last query's are kept."""


class _Capture(TorchFunctionMode):
    """Notes the kernels that one running attention calls."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.calls: list[KernelCall] = []
        self.within: str | None = None
        self._scores: int | None = None

    def open(self) -> None:
        """Hear what is called from now on."""
        self.__enter__()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Hear no more."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function as it was called, and note what is a kernel's."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is _FUSED:
            self._fused({**dict(zip(_FUSED_NAMES, args, strict=False)), **kwargs}, output)
        elif func in _SOFTMAXES:
            self._softmax(args, kwargs, output)
        elif func in _PRODUCTS and isinstance(output, Tensor) and output.dim():
            self._scores = output.shape[-1]
        return output

    def _fused(self, given: dict[str, Any], output: Tensor) -> None:
        call = KernelCall(
            kernel="scaled_dot_product_attention",
            within=self.within,
            query=given["query"],
            key=given["key"],
            value=given["value"],
            output=output,
            mask=given.get("attn_mask"),
            is_causal=bool(given.get("is_causal", False)),
            scale=given.get("scale"),
        )
        self.calls.append(call)

    def _softmax(self, args: Any, kwargs: Any, output: Tensor) -> None:
        axis = kwargs["dim"] if "dim" in kwargs else args[1] if len(args) > 1 else None
        if axis not in (-1, output.dim() - 1) or output.dim() < 3:
            return
        kept = output if output.numel() <= _LARGEST_KEPT else output[..., -1:, :].clone()
        self.calls.append(KernelCall("softmax", self.within, weights=kept, scores=self._scores))

    def called(self, name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a function of the interface, and note its arguments unless it called a kernel that was heard itself."""
        before, around, self.within = len(self.calls), self.within, name
        if name == _COMPILED:
            self.close()
        try:
            output = function(*args, **kwargs)
        finally:
            self.within = around
            if name == _COMPILED:
                self.open()
        if len(self.calls) == before:
            given = {**dict(zip(_INTERFACE_NAMES, args, strict=False)), **kwargs}
            module, causal = given.pop("module"), given.pop("is_causal", None)
            call = KernelCall(
                kernel=name,
                query=given.pop("query"),
                key=given.pop("key"),
                value=given.pop("value"),
                output=output[0] if isinstance(output, tuple) else output,
                mask=given.pop("attention_mask", None),
                is_causal=bool(getattr(module, "is_causal", True) if causal is None else causal),
                scale=given.pop("scaling", None),
                options=given,
            )
            self.calls.append(call)
        return output


class _Interfaces:
    """The functions of transformers' `AttentionInterface`, each noting its arguments while an ear is there to hear."""

    def __init__(self) -> None:
        self._ears: list[_Capture] = []
        self._own: dict[str, Callable[..., Any] | None] = {}
        self._lock = threading.Lock()

    def add(self, ear: _Capture) -> None:
        """From now on `ear` hears them."""
        with self._lock:
            self._ears.append(ear)
            if len(self._ears) > 1:
                return
            everyones = AttentionInterface()
            for name in ALL_ATTENTION_FUNCTIONS.valid_keys():
                # What it has for itself alone is put back; anything else is uncovered again.
                function = ALL_ATTENTION_FUNCTIONS[name]
                self._own[name] = None if everyones.get(name) is function else function
                if name != "sdpa":
                    ALL_ATTENTION_FUNCTIONS[name] = self._noting(name, function)

    def remove(self, ear: _Capture) -> None:
        """`ear` hears them no more."""
        with self._lock:
            if ear not in self._ears:
                return
            self._ears.remove(ear)
            if self._ears:
                return
            for name, function in self._own.items():
                if function is not None:
                    ALL_ATTENTION_FUNCTIONS[name] = function
                elif name != "sdpa":
                    del ALL_ATTENTION_FUNCTIONS[name]
            self._own.clear()

    def _noting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any, **kwargs: Any) -> Any:
            module = args[0] if args else kwargs.get("module")
            for ear in self._ears:
                if any(each is module for each in ear.attention.modules()):
                    return ear.called(name, function, args, kwargs)
            return function(*args, **kwargs)

        return noting


_INTERFACES = _Interfaces()


class AttentionCapture:
    """The attentions of a model that are listened to, in the forwards of which `is_ours()` is True."""

    def __init__(self, anatomy: Anatomy, is_ours: Callable[[], bool]) -> None:
        self._anatomy = anatomy
        self._is_ours = is_ours
        self._heard: frozenset[str] = frozenset()
        self._handles: dict[nn.Module, tuple[RemovableHandle, RemovableHandle]] = {}
        self._open: dict[nn.Module, _Capture] = {}
        self._calls: dict[nn.Module, tuple[KernelCall, ...]] = {}

    def hear(self, addresses: Collection[str]) -> None:
        """Listen to exactly these attentions. One that is running is listened to until it has run."""
        if addresses == self._heard:
            return
        modules = self._anatomy.modules
        self._heard = frozenset(address for address in addresses if address in modules)
        wanted = {modules[address] for address in self._heard}
        for module in wanted - self._handles.keys():
            # Functions, since a copy of the model would copy a method's object, and with it the run.
            self._handles[module] = (
                module.register_forward_pre_hook(lambda module, _: self._begin(module), prepend=True),
                module.register_forward_hook(lambda module, *_: self._end(module), prepend=True, always_call=True),
            )
        for module in self._handles.keys() - wanted - self._open.keys():
            self._leave(module)

    def calls(self, address: str) -> tuple[KernelCall, ...]:
        """What the kernels of an attention that has just run were called with. Can be asked once."""
        return self._calls.pop(self._anatomy.modules[address], ()) if address in self._heard else ()

    def forget(self) -> None:
        """Listen to nothing; a forward that was given up in the middle has let go of its modes already."""
        for ear in self._open.values():
            _INTERFACES.remove(ear)
        self._open.clear()
        self._calls.clear()
        self.hear(frozenset())

    def _begin(self, module: nn.Module) -> None:
        if not self._is_ours():
            return
        ear = self._open[module] = _Capture(module)
        self._calls.pop(module, None)
        _INTERFACES.add(ear)
        ear.open()

    def _end(self, module: nn.Module) -> None:
        # In a forward that was given up in the middle, `forget` does the rest.
        if not self._is_ours():
            return
        ear = self._open.pop(module, None)
        if ear is None:
            return
        ear.close()
        _INTERFACES.remove(ear)
        self._calls[module] = tuple(ear.calls)
        if not any(self._anatomy.modules[address] is module for address in self._heard):
            self._calls.pop(module)
            self._leave(module)

    def _leave(self, module: nn.Module) -> None:
        for handle in self._handles.pop(module):
            handle.remove()
