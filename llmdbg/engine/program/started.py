"""Starts a program before torch is imported: what it sets first for its libraries, such as `OMP_NUM_THREADS`, holds.

The debugger is imported when the program calls a model, unless the program has imported it itself.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakMethod

from greenlet import getcurrent

from llmdbg.engine.greenlets import new_greenlet
from llmdbg.engine.program.errands import Errands
from llmdbg.engine.program.exits import Exit, at_work, exit_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from torch import nn

    from llmdbg.engine.program.launching import Launch
    from llmdbg.engine.program.watching import ModelWatch
    from llmdbg.engine.suspension import Suspension


_SECONDS_BETWEEN_LOOKS = 0.02
_OF_THE_DEBUGGER = ("llmdbg", "textual")
"""How the names begin of threads that are not the program's."""


@dataclass(frozen=True, slots=True)
class Following:
    """Who follows a started program."""

    found: Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], None]
    """Gets a model that is called for the first time, the part of it that is called, and the arguments."""
    is_ours: Callable[[], bool]
    """Whether the caller is the program."""
    is_running: Callable[[], bool]
    """Whether a forward of a known model is running."""
    ended: Callable[[], None]
    """Called at the end of the program, and in a child that it forks."""


class Started:
    """Runs `launch`, and stands still when a model is called for the first time."""

    def __init__(self, launch: Launch) -> None:
        self.name = launch.name
        self.exit: Exit | None = None
        """How it ended; None until then."""
        self.watch: ModelWatch | None = None
        """Finds the models that it calls, once torch is imported."""
        self.suspension: Suspension[Any] | None = None
        """Resumes it, once it has called one."""
        self.has_begun = False
        self.errands = Errands(self.is_running_here)
        """Reach its own thread from its others."""
        self._launch = launch
        self._following: Following | None = None
        self._process, self._thread = os.getpid(), get_ident()
        self._finding = threading.Lock()
        self._others = frozenset(threading.enumerate())
        self._greenlet = new_greenlet(self._to_its_end)

    def run(self) -> None:
        """Run to the first call of a model, or to its end."""
        self.has_begun = True
        self.errands.begin()
        self._greenlet.parent = getcurrent()
        self._greenlet.switch()

    def follow(self, following: Following) -> None:
        """Tell this one of what happens from now on."""
        self._following = following

    def is_running_here(self) -> bool:
        """Whether the caller is the program, in its own thread."""
        return getcurrent() is self._greenlet

    def is_of_the_program(self) -> bool:
        """Whether the caller is the program, in any of its threads that can be stopped."""
        return self.is_running_here() or (get_ident() != self._thread and self.errands.can_run)

    def threads_at_work(self) -> list[threading.Thread]:
        """The program's threads, other than its own, that keep the process from ending."""
        started = (each for each in threading.enumerate() if each not in self._others)
        return at_work(each for each in started if not each.name.startswith(_OF_THE_DEBUGGER))

    def stop_here(self) -> None:
        """Nothing: the first call of a model is a stop anyway."""

    def _to_its_end(self) -> None:
        os.register_at_fork(after_in_child=_called_if_there(WeakMethod(self._let_go)))
        finder = _Waiting(self._begin)
        if "torch" in sys.modules:
            self._begin()
        else:
            sys.meta_path.insert(0, finder)
        try:
            self.exit = exit_of(self._launch.run)
            # As Python does at the end of its main thread.
            while self.threads_at_work():
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            finder.end()
            self._let_go()
            self.errands.end()
            if os.getpid() != self._process:
                # A child that the program has forked, and that comes to the program's end.
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0 if self.exit is None else self.exit.code)

    def _begin(self) -> None:
        from llmdbg.engine.program.watching import ModelWatch

        self.watch = ModelWatch(self._is_ours, self._is_running, self._found)
        self.watch.begin()

    def _let_go(self) -> None:
        if self._following is not None:
            self._following.ended()
        elif self.watch is not None:
            self.watch.end()

    def _is_ours(self) -> bool:
        if self._following is not None:
            return self._following.is_ours()
        return self.is_of_the_program()

    def _is_running(self) -> bool:
        return self._following is not None and self._following.is_running()

    def _found(self, model: nn.Module, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        with self._finding:
            if self._following is None and not self._stood_still(model):
                return
        assert self._following is not None
        self._following.found(model, module, args, kwargs)

    def _stood_still(self, model: nn.Module) -> bool:
        """Let `run` return, and wait until the program is to go on. Returns False where that cannot be."""

        def stand_still() -> None:
            from llmdbg.engine.random_streams import RandomStreams
            from llmdbg.engine.suspension import Suspension

            streams = RandomStreams({each.device for each in model.parameters()})
            streams.include_python_and_numpy()
            self.suspension = Suspension(self._launch.run, streams, begun=self._greenlet)
            self.suspension.suspend(None)

        if get_ident() != self._thread:
            return self.errands.run(stand_still, lambda: self.suspension is not None)
        stand_still()
        return True


def _called_if_there(method: WeakMethod[Callable[[], None]]) -> Callable[[], None]:
    def call() -> None:
        if (there := method()) is not None:
            there()

    return call


class _Waiting(MetaPathFinder):
    """Calls `then` once torch has been imported."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find torch as the others would, with a loader that tells."""
        if name != "torch":
            return None
        # It may be asked for without being imported: `importlib.util.find_spec("torch")`.
        for finder in [each for each in sys.meta_path if each is not self]:
            find = getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                spec.loader = _Telling(spec.loader, self._imported)
                return cast("ModuleSpec", spec)
        return None

    def _imported(self) -> None:
        self.end()
        self._then()

    def end(self) -> None:
        """Wait no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class _Telling(Loader):
    """A loader that stands in for another until a module is there."""

    def __init__(self, loader: Any, then: Callable[[], None]) -> None:
        self._loader = loader
        self._then = then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the other."""
        return cast("ModuleType | None", self._loader.create_module(spec))

    def exec_module(self, module: ModuleType) -> None:
        """Import it, under its own loader."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then()
