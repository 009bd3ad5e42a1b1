"""Running a tiny model with edits, and with the plain PyTorch hooks that they must equal."""

import torch

from llmdbg.debugger.breakpoints.addresses import AddressBook
from llmdbg.debugger.editing.edit_language import EditContext, read_edit
from llmdbg.debugger.editing.edits import Edits
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import StageEvent
from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import Phase, Stage, StageKind
from tests.engine.runs import PROMPT, generation, hooks_on, untouched
from tests.tiny import tiny_model

SETTINGS = GenerationSettings(max_new_tokens=6, greedy=True)


class Elsewhere:
    """Another run, whose values are at hand: `values(address, token)`."""

    def __init__(self, values, name="b2"):
        self.values, self.name = values, name

    def missing(self, token, address):
        found = self.values(address, token)
        return f"branch {self.name} has no value of {address} at token {token}" if found is None else None

    def value(self, token, address, call):
        return self.values(address, token)


class Bench:
    """A model, its prompt, and edits read for it."""

    def __init__(self, model="llama", *, dtype=torch.float32, prompt=PROMPT, **more):
        self.model = tiny_model(model, dtype=dtype) if isinstance(model, str) else model
        self.anatomy = dissect(self.model)
        self.prompt = prompt
        self.edits = Edits()
        self.more = more

    def ground(self, token=0, event=None, **more):
        book = AddressBook(self.anatomy)
        return EditContext(book, self.anatomy, self.model, token, len(self.prompt), event, **(self.more | more))

    def read(self, line, token=0, event=None, **more):
        return read_edit(line, self.ground(token, event, **more))

    def add(self, *lines, since=0):
        for line in lines:
            self.edits.add(self.read(line, since), since)
        return self

    def engine(self):
        engine = generation(self.model, self.prompt, SETTINGS, anatomy=self.anatomy)
        engine.stops.edit(self.edits.addresses(), self.edits.editor(len(self.prompt)))
        return engine

    def run(self):
        """Ids and raw logits with the edits."""
        engine, logits = self.engine(), []
        engine.stops.arm(["logits"], lambda event: logits.append(event.output.clone()))
        for _ in engine.events():
            pass
        assert hooks_on(self.model) == 0
        return list(engine.generated), logits

    def at(self, address, token=0):
        """Stand at a stage. Returns the event and the generator that must be kept and closed."""
        engine = self.engine()
        stages = engine.events()
        next(stages)
        engine.stops.arm([address], lambda event: event.token == token)
        return next(stages), stages

    def hooked(self, path, change):
        """The same by a plain hook: `change(tensor, token)` of the module's main tensor, at every forward."""
        token = -1

        def hook(_module, _args, output):
            nonlocal token
            token += 1
            if isinstance(output, torch.Tensor):
                return change(output, token)
            return (change(output[0], token), *output[1:])

        handle = self.model.get_submodule(path).register_forward_hook(hook)
        run = untouched(self.model, self.prompt, SETTINGS)
        handle.remove()
        return run.ids, run.logits


def same(one, other):
    assert one[0] == other[0]
    assert len(one[1]) == len(other[1])
    assert all(map(torch.equal, one[1], other[1]))


def different(one, other):
    assert not all(map(torch.equal, one[1], other[1]))


def visit_of(tensor, address="1", token=0, **more):
    phase = Phase.DECODE if token else Phase.PREFILL
    return StageEvent(Stage(StageKind.LAYER, address), phase, token, tensor, **more)
