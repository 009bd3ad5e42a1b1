"""Addresses of what is finer than a module: lines of a forward's source, and single ops.

12.self_attn:174       a line of the module's source file, when that module runs it, itself or in what it calls there
modeling_llama.py:174  the same for every module whose forward is in that file
12.mlp:forward         instead of a number, a function by its name: its first line
12.self_attn/_softmax.0  the first op of that name in each call of the module; without a number, each of them
*.mlp/mul              of every layer's mlp
12.mlp.grad/MulBackward0  what an autograd node runs in backward, by the module whose forward made the node
op softmax*            every op of that name, in any module; `aten.` before it and underscores may be left out
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING

from llmdbg.errors import AddressError
from llmdbg.formatting import listed
from llmdbg.models.source_files import functions_in, functions_with, lines_of, nearest_lines, source_file, statements
from llmdbg.models.stages import WHOLE_MODEL, gradient_address, gradient_of, line_address, line_parts, op_address

if TYPE_CHECKING:
    from types import CodeType

    from torch import nn

    from llmdbg.models.anatomy import Anatomy

_OP_WORD = re.compile(r"op\s+(?P<name>\S+)")
_IN_FILE = re.compile(r"(?P<place>[^:]+):\s*(?P<where>[\w.<>*]+)")
_IN_MODULE = re.compile(r"(?P<module>[^:/]+)/(?P<name>[^:/]+)")
_OP_NAME = re.compile(
    r"(?:aten\.|\w+::|\w+\.(?=\w+\.\D))?(?P<name>[\w*?\[\]]+)(?:\.(?:(?P<number>\d{1,9})|[A-Za-z_]\w*))?"
)
"""A namespace and an overload, as an op's full name has them, are left out: `aten._softmax.default`."""


class FineAddresses:
    """Looks up lines and ops. `lines` and `ops` say whether the debuggee can stop at them; `name` names it."""

    def __init__(
        self, anatomy: Anatomy, model: nn.Module | None, *, name: str = "this", lines: bool = True, ops: bool = True
    ) -> None:
        self._anatomy = anatomy
        self._model = model
        self._name = name
        self._lines, self._ops = lines, ops

    def find(self, place: str, modules: Callable[[str], Iterable[str]]) -> frozenset[str] | None:
        """The lines or ops that `place` names; None if it is no such address.

        `modules(text)` are the addresses of the stages that the part before `:` or `/` names. Raises AddressError.
        """
        if found := _OP_WORD.fullmatch(place):
            return self._in_modules(found["name"], ["*"])
        if found := _IN_MODULE.fullmatch(place):
            of = gradient_of(found["module"].strip())
            named = self._named(found["module"] if of is None else of, modules)
            return self._in_modules(found["name"], named if of in (None, "*") else [*map(gradient_address, named)])
        if found := _IN_FILE.fullmatch(place):
            self._require(able=self._lines, what="source lines")
            return self._line(found["place"].strip(), found["where"], modules)
        return None

    def locals_at(self, addresses: Iterable[str]) -> frozenset[str] | None:
        """The local variables of the code of these lines; None where these are not all single lines."""
        found = set[str]()
        for each in addresses:
            module, line = line_parts(each) or ("", "")
            if module not in self._modules or not line.isdecimal():
                return None
            for code in functions_with(source_file(self._modules[module]), int(line)):
                found |= {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
        return frozenset(found)

    def _require(self, *, able: bool, what: str) -> None:
        if not able:
            raise AddressError(f"{self._name} cannot stop at {what}")

    def _named(self, text: str, modules: Callable[[str], Iterable[str]]) -> list[str]:
        """The modules that a text names: stages, and what contains the layers, by its path."""
        text = text.strip()
        found = ["*"] if text == "*" else [each for each in modules(text) if each in self._anatomy.modules]
        if not found and text in self._modules:
            found = [text]
        if not found:
            raise AddressError(f"no module is called {text!r}")
        return found

    def _in_modules(self, name: str, modules: Sequence[str]) -> frozenset[str]:
        self._require(able=self._ops, what="single operations")
        parts = _OP_NAME.fullmatch(name)
        if parts is None:
            raise AddressError(f"{name!r} is no name of an op: `op softmax`, `12.self_attn/softmax.0`")
        number = None if parts["number"] is None else int(parts["number"])
        return frozenset(op_address(module, parts["name"], number) for module in modules)

    def _line(self, place: str, where: str, modules: Callable[[str], Iterable[str]]) -> frozenset[str]:
        if place.endswith(".py"):
            named = [each for each, module in self._modules.items() if _is_file(source_file(module), place)]
            if not named:
                raise AddressError(f"no module's forward is in {place!r}: {self._some_files()}")
        else:
            named = self._named(place, modules)
            named = list(self._modules) if named == ["*"] else named
        # Without Python source there is nothing to stop at.
        named = [each for each in named if source_file(self._modules[each])]
        if where == "*":
            return frozenset(line_address(each, where) for each in named)
        found, elsewhere = set[str](), ""
        for each in named:
            line = self._line_in(self._modules[each], where)
            if line is not None and self._runs(self._modules[each], line):
                found.add(line_address(each, line))
            elif line is not None:
                file = source_file(self._modules[each])
                elsewhere = f"{_place(file, line)} is in {functions_with(file, line)[0].co_qualname}"
        if not found:
            raise AddressError(f"{elsewhere}, which {place} does not run" if elsewhere else self._no_line(named, where))
        return frozenset(found)

    def _line_in(self, module: nn.Module, where: str) -> int | None:
        """The line of a module's file that a number or a function's name means; None if nothing runs there."""
        file = source_file(module)
        if where.isdecimal():
            # A statement over several lines is stopped at on its first.
            line = statements(file).get(int(where), int(where)) if len(where) < 9 else 0
            return line if functions_with(file, line) else None
        own = [type_.__name__ for type_ in type(module).__mro__]
        names = (where, *(f"{each}.{where}" for each in own))
        functions = [each for each in functions_in(file) if each.co_qualname in names]
        functions.sort(key=lambda each: names.index(each.co_qualname))
        return min(lines_of(functions[0]), default=None) if functions else None

    @staticmethod
    def _runs(module: nn.Module, line: int) -> bool:
        """Whether a module may run a line of its file: in its own class, or in a function that any may call."""
        own = {type_.__name__ for type_ in type(module).__mro__}
        return any(_class_of(code) in (None, *own) for code in functions_with(source_file(module), line))

    def _no_line(self, named: Sequence[str], where: str) -> str:
        files = list(dict.fromkeys(source_file(self._modules[each]) for each in named))
        if not files:
            return "there is no Python source to stop in"
        file = PurePath(files[0]).name
        if not where.isdecimal():
            return f"no function is called {where!r} in {file}"
        near = [str(each) for each in nearest_lines(files[0], int(where[:9]))]
        hint = f": the nearest with code {'is' if len(near) == 1 else 'are'} {listed(near)}" if near else ""
        return f"line {where} of {file} runs nothing{hint}"

    def _some_files(self) -> str:
        paths = (source_file(each) for each in self._modules.values())
        files = dict.fromkeys(PurePath(path).name for path in paths if path and "torch" not in PurePath(path).parts)
        return f"they are in {listed(list(files)[:5], 'and')}" if files else "there is no Python source"

    @cached_property
    def _modules(self) -> dict[str, nn.Module]:
        """Every module by what the addresses of its lines begin with."""
        return {**self._around(), **self._anatomy.modules}

    def _around(self) -> dict[str, nn.Module]:
        """What contains the layers, which is no stage."""
        if self._model is None:
            return {}
        stages = {self._anatomy.stage(address).module for address in self._anatomy.modules}
        return {path or WHOLE_MODEL: each for path, each in _outer(self._model, stages)}


def _outer(model: nn.Module, stages: set[str | None]) -> Iterator[tuple[str, nn.Module]]:
    for path, module in model.named_modules():
        if path not in stages:
            yield path, module


def _is_file(path: str, typed: str) -> bool:
    parts = PurePath(typed).parts
    return PurePath(path).parts[-len(parts) :] == parts


def _place(file: str, line: int) -> str:
    return f"line {line} of {PurePath(file).name}"


def _class_of(code: CodeType) -> str | None:
    """The class whose method this is, or whose method it is inside; None for a function of the module."""
    outer, _, inner = code.co_qualname.partition(".")
    return outer if inner and not inner.startswith("<locals>") else None
