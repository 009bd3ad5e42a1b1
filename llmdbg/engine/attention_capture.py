"""Captures the arguments of attention kernels, whichever kernel a model uses, without changing anything.

- While a captured attention runs, a `TorchFunctionMode` sees the torch functions it calls. A fused kernel is captured
  by its arguments; eager attention by its softmax, whose output is the attention weights themselves.
- A kernel that calls neither (flash, flex, a user's own) is captured through transformers' `AttentionInterface`: while
  the attention runs, every function registered there is wrapped to note its arguments.
- Captured are references to tensors that the forward holds anyway; they are released with the event.
- A forward that fails or is abandoned midway leaves nothing installed: the mode belongs to the greenlet, and `forget`
  restores the interface.
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

from llmdbg.engine._compat import untraced
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
"""The kernel that torch compiles; compilation depends on the active modes."""

_LARGEST_KEPT = 2**26
"""Elements. Of larger eager attention weights only the last query's row is kept."""


class _Capture(TorchFunctionMode):
    """Captures the kernel calls of one running attention."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.calls: list[KernelCall] = []
        self.within: str | None = None
        self._scores: int | None = None

    def open(self) -> None:
        """Start capturing."""
        self.__enter__()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Stop capturing."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function unchanged, and capture the call if it is a kernel's."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is _FUSED:
            self._fused({**dict(zip(_FUSED_NAMES, args, strict=False)), **kwargs}, output)
        elif func in _SOFTMAXES:
            self._softmax(args, kwargs, output)
        elif func in _PRODUCTS and isinstance(output, Tensor) and output.dim():
            self._scores = output.shape[-1]
        return output

    def _fused(self, arguments: dict[str, Any], output: Tensor) -> None:
        call = KernelCall(
            kernel="scaled_dot_product_attention",
            within=self.within,
            query=arguments["query"],
            key=arguments["key"],
            value=arguments["value"],
            output=output,
            mask=arguments.get("attn_mask"),
            is_causal=bool(arguments.get("is_causal", False)),
            scale=arguments.get("scale"),
        )
        self.calls.append(call)

    def _softmax(self, args: Any, kwargs: Any, output: Tensor) -> None:
        axis = kwargs["dim"] if "dim" in kwargs else args[1] if len(args) > 1 else None
        if axis not in (-1, output.dim() - 1) or output.dim() < 3:
            return
        inputs = args[0] if args else kwargs["input"]
        kept = [each if each.numel() <= _LARGEST_KEPT else each[..., -1:, :].clone() for each in (output, inputs)]
        self.calls.append(KernelCall("softmax", self.within, weights=kept[0], inputs=kept[1], scores=self._scores))

    def called(self, name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a function of the interface, and capture its arguments unless it called a kernel that was captured."""
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
            arguments = {**dict(zip(_INTERFACE_NAMES, args, strict=False)), **kwargs}
            module, causal = arguments.pop("module"), arguments.pop("is_causal", None)
            call = KernelCall(
                kernel=name,
                query=arguments.pop("query"),
                key=arguments.pop("key"),
                value=arguments.pop("value"),
                output=output[0] if isinstance(output, tuple) else output,
                mask=arguments.pop("attention_mask", None),
                is_causal=bool(getattr(module, "is_causal", True) if causal is None else causal),
                scale=arguments.pop("scaling", None),
                options=arguments,
            )
            self.calls.append(call)
        return output


class _Interfaces:
    """Wraps the functions of transformers' `AttentionInterface` while there is a capture."""

    def __init__(self) -> None:
        self._captures: list[_Capture] = []
        self._own: dict[str, Callable[..., Any] | None] = {}
        self._lock = threading.Lock()

    def add(self, capture: _Capture) -> None:
        """Include their calls in `capture` from now on."""
        with self._lock:
            self._captures.append(capture)
            if len(self._captures) > 1:
                return
            class_wide = AttentionInterface()
            for name in ALL_ATTENTION_FUNCTIONS.valid_keys():
                # Functions set on this object alone must be put back; class-wide ones reappear when ours are deleted.
                function = ALL_ATTENTION_FUNCTIONS[name]
                self._own[name] = None if class_wide.get(name) is function else function
                if name != "sdpa":
                    ALL_ATTENTION_FUNCTIONS[name] = self._wrapped(name, function)

    def remove(self, capture: _Capture) -> None:
        """Stop including their calls in `capture`; restores the interface after the last one."""
        with self._lock:
            if capture not in self._captures:
                return
            self._captures.remove(capture)
            if self._captures:
                return
            for name, function in self._own.items():
                if function is not None:
                    ALL_ATTENTION_FUNCTIONS[name] = function
                elif name != "sdpa":
                    del ALL_ATTENTION_FUNCTIONS[name]
            self._own.clear()

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            module = args[0] if args else kwargs.get("module")
            for capture in self._captures:
                if any(each is module for each in capture.attention.modules()):
                    return capture.called(name, function, args, kwargs)
            return function(*args, **kwargs)

        return wrapped


_INTERFACES = _Interfaces()


class AttentionCapture:
    """Captures the kernel calls of a model's attentions, in forwards for which `is_ours()` is True."""

    def __init__(self, anatomy: Anatomy, is_ours: Callable[[], bool]) -> None:
        self._anatomy = anatomy
        self._is_ours = is_ours
        self._addresses: frozenset[str] = frozenset()
        self._handles: dict[nn.Module, tuple[RemovableHandle, RemovableHandle]] = {}
        self._open: dict[nn.Module, _Capture] = {}
        self._calls: dict[nn.Module, tuple[KernelCall, ...]] = {}

    def capture(self, addresses: Collection[str]) -> None:
        """Capture exactly these attentions. One that is running now is captured until it has run."""
        if addresses == self._addresses:
            return
        modules = self._anatomy.modules
        self._addresses = frozenset(address for address in addresses if address in modules)
        wanted = {modules[address] for address in self._addresses}
        for module in wanted - self._handles.keys():
            # Functions, not methods: a copy of the model would copy a bound method's object, and with it the run.
            self._handles[module] = (
                module.register_forward_pre_hook(untraced(lambda module, _: self._enter(module)), prepend=True),
                module.register_forward_hook(
                    untraced(lambda module, *_: self._leave(module)), prepend=True, always_call=True
                ),
            )
        for module in self._handles.keys() - wanted - self._open.keys():
            self._unhook(module)

    def calls(self, address: str) -> tuple[KernelCall, ...]:
        """The kernel calls of an attention that has just run. Returns them once."""
        return self._calls.pop(self._anatomy.modules[address], ()) if address in self._addresses else ()

    def forget(self) -> None:
        """Stop capturing everything. An abandoned forward has left its modes already."""
        for capture in self._open.values():
            _INTERFACES.remove(capture)
        self._open.clear()
        self._calls.clear()
        self.capture(frozenset())

    def _enter(self, module: nn.Module) -> None:
        if not self._is_ours():
            return
        capture = self._open[module] = _Capture(module)
        self._calls.pop(module, None)
        _INTERFACES.add(capture)
        capture.open()

    def _leave(self, module: nn.Module) -> None:
        # In an abandoned forward, `forget` does the rest.
        if not self._is_ours():
            return
        capture = self._open.pop(module, None)
        if capture is None:
            return
        capture.close()
        _INTERFACES.remove(capture)
        self._calls[module] = tuple(capture.calls)
        if not any(self._anatomy.modules[address] is module for address in self._addresses):
            self._calls.pop(module)
            self._unhook(module)

    def _unhook(self, module: nn.Module) -> None:
        for handle in self._handles.pop(module):
            handle.remove()
