"""A training step of many architectures, stepped through all of its backward: the gradients are bitwise the same."""

from __future__ import annotations

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.execution.stop import Reason
from llmdbg.engine.program.attached import AttachedProgram
from tests.tiny import tiny_model

IDS = torch.arange(1, 9)[None]
ARCHITECTURES = (
    *("llama", "gpt2", "qwen3", "gemma3", "phi3", "mixtral"),
    *("falcon", "mamba", "opt", "cohere", "gpt_oss", "deepseek_v3"),
)


def trained(model: torch.nn.Module) -> list[torch.Tensor | None]:
    """The gradients of one step."""
    torch.manual_seed(0)
    model(input_ids=IDS, labels=IDS).loss.backward()
    return [each.grad for each in model.parameters()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_the_same_after_stepping_through_every_operation(name: str) -> None:
    alone = trained(tiny_model(name).train())
    model = tiny_model(name).train()
    seen: list[str] = []

    def front_end(program: AttachedProgram) -> None:
        session = Debugger(program)
        for each in ("break nonfinite", "set depth op", "until loss.grad"):
            COMMANDS.run(session, each)
        while session.end is None and session.stop.phase == "backward":
            assert session.stop.reason is not Reason.BREAKPOINT, "nothing is wrong with it"
            seen.append(session.stop.stage.address)
            COMMANDS.run(session, "step")

    program = AttachedProgram("test", front_end, lambda _: None)
    program.attach(model)
    gradients = trained(model)
    program.detach()
    assert seen[0] == "loss.grad" and len(seen) > 40
    assert any(each.startswith("0.") and ".grad/" in each for each in seen)
    for one, other in zip(alone, gradients, strict=True):
        assert (one is None and other is None) or (one is not None and other is not None and one.equal(other))
