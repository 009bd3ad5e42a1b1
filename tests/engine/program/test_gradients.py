"""Backward in a user's program: stops at gradients change nothing, and are where they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.gradient_stops import GradientStops
from llmdbg.engine.program.attached import AttachedProgram
from llmdbg.engine.program.exits import exit_of
from llmdbg.engine.program.launched import LaunchedProgram
from llmdbg.engine.program.launching import script
from llmdbg.errors import AddressError, ConditionError
from tests.tiny import tiny_model

PROGRAMS = Path(__file__).parent / "programs"
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a program changes of the process is put back."""
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    yield
    assert torch._C._current_graph_task_id() == -1


def begun(path: Path, *lines: str, said: list[str] | None = None) -> Debugger:
    program = LaunchedProgram(script(str(path), ()), (lambda _: None) if said is None else said.append)
    assert program.find()
    return do(Debugger(program), *lines)


def do(session: Debugger, *lines: str) -> Debugger:
    for line in lines:
        COMMANDS.run(session, line)
    return session


def planted(kind: str, *lines: str) -> Debugger:
    program = LaunchedProgram(script(str(PROGRAMS / "nonfinite_backward.py"), (kind,)))
    assert program.find()
    return do(Debugger(program), *lines)


def at(session: Debugger) -> str:
    return f"{session.stop.stage.address}@{session.stop.token}"


def norm(session: Debugger) -> float:
    assert session.stop.tensor is not None and session.stop.tensor.numbers is not None
    return session.stop.tensor.numbers.norm


def visits(session: Debugger, line: str) -> list[str]:
    """Where it stops until its end."""
    found = [at(session)]
    while session.end is None:
        do(session, line)
        found.append(at(session))
    return found


def hooks(session: Debugger) -> int:
    """How many hooks there are on modules and parameters of the program's model."""
    assert session.debuggee.loaded is not None
    model = session.debuggee.loaded.model
    on_modules = sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())
    return on_modules + sum(len(each._post_accumulate_grad_hooks or ()) for each in model.parameters())


@pytest.mark.parametrize(
    "name",
    [
        "training.py",
        "accumulating.py",
        "trainer.py",
        "checkpointed.py",
        "checkpointed_reentrant.py",
    ],
)
def test_it_prints_the_same_stepped_through_every_gradient(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(script(str(PROGRAMS / name), ()).run).code == 0
    alone = capsys.readouterr().out
    session = begun(PROGRAMS / name, "break loss.grad", "continue")
    assert at(session) == "loss.grad@0"
    found = visits(session, "step")
    assert capsys.readouterr().out == alone
    first = [each.removesuffix(".grad@0") for each in found if each.endswith(".grad@0")]
    assert first[:2] == ["loss", "logits"]
    outline = [each for each in first if each.isdecimal() or each == "norm"]
    assert outline == ["norm", "1", "0"], "each once, in the order of backward"
    part = "gate_proj" if name == "trainer.py" else "c_fc"
    assert first.index("1.mlp") > first.index("1") and f"1.mlp.{part}.weight" in first
    assert {"loss.grad@1", "loss.grad@2", "0.mlp.grad@2"} <= set(found)


def test_gradients_are_those_of_autograd_and_nothing_else_carries_a_hook(capsys: pytest.CaptureFixture[str]) -> None:
    session = begun(PROGRAMS / "training.py")
    before = hooks(session)
    do(session, "break 1.mlp.grad@1", "continue")
    assert (at(session), session.stop.phase, session.stop.stage.module) == (
        "1.mlp.grad@1",
        "backward",
        "transformer.h.1.mlp",
    )
    assert hooks(session) > before and 0 < norm(session) < 1
    assert session.stop.tensor is not None and session.stop.tensor.shape == (2, 6, 32)
    do(session, "until 1.mlp.c_fc.weight.grad")
    assert session.debuggee.loaded is not None
    [weight] = [
        each for path, each in session.debuggee.loaded.model.named_parameters() if path.endswith("h.1.mlp.c_fc.weight")
    ]
    assert weight.grad is not None and norm(session) == pytest.approx(weight.grad.norm().item())
    do(session, "delete", "until 1@2")
    assert hooks(session) == before + 2, "those on layer 1"
    session.close()
    assert not hooks(session)


def test_next_stays_at_its_depth_and_finish_goes_out() -> None:
    session = begun(PROGRAMS / "training.py", "until logits.grad")
    seen: list[str] = []
    while not seen or seen[-1] != "0.grad@0":
        do(session, "next")
        seen.append(at(session))
    assert seen == ["norm.grad@0", "1.grad@0", "0.grad@0"]
    do(session, "until 1.mlp.c_fc.grad", "finish")
    assert at(session) == "1.ln_2.grad@1", "out of the MLP, whose parts are deeper"
    do(session, "until 0.grad", "finish")
    assert at(session) == "sample@1"
    session.close()


def test_conditions_tracepoints_and_what_is_not_known_of_a_gradient() -> None:
    session = begun(PROGRAMS / "training.py", "break *.grad if norm > 1e-9 and layer == 0", "continue")
    assert at(session) == "0.grad@0" and "norm" in session.stop.why
    do(session, "info stats", "info stage", "explain", "print out.norm()", "x .")
    logged = []
    session.run.on_trace = lambda stop: logged.append((stop.stage.address, dict(stop.values)["norm"]))
    do(session, "delete", "trace 0-1.mlp.grad norm", "token", "token")
    assert [each for each, _ in logged] == ["0.mlp.grad", "1.mlp.grad", "0.mlp.grad"]
    with pytest.raises(ConditionError, match="never known at a gradient"):
        do(session, "break 0.grad if entropy > 1")
    for wrong in ("break 9.grad", "break 0.mlp.wieght.grad", "break sample.grad"):
        with pytest.raises(AddressError, match="nothing that has a gradient is called"):
            do(session, wrong)
    session.close()


def test_armed_after_the_forward_it_says_when_it_stops() -> None:
    said: list[str] = []
    session = begun(PROGRAMS / "training.py", "until logits", "break 0.grad", "continue", said=said)
    assert at(session) == "0.grad@1"
    assert said == ["gradients are stopped at from the next forward on: this one has begun without"]
    session.close()


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_model_that_runs_again_in_backward_as_a_whole_is_no_other_token(tmp_path: Path, reentrant: bool) -> None:
    path = tmp_path / "p.py"
    path.write_text(
        "import torch\nfrom torch.utils.checkpoint import checkpoint\nfrom tests.tiny import tiny_model\n"
        "model = tiny_model('llama').train()\nvectors = torch.ones(1, 6, 32, requires_grad=True)\nfor _ in range(2):\n"
        f"    out = checkpoint(lambda x: model(inputs_embeds=x).logits, vectors, use_reentrant={reentrant})\n"
        "    out.mean().backward()\n"
    )
    session = begun(path, "break 1.mlp.grad")
    found = visits(session, "continue")
    assert found == ["tokenize@0", "1.mlp.grad@0", "1.mlp.grad@1", "sample@1"]


def test_on_a_gpu_backward_runs_in_this_thread_while_a_gradient_is_armed() -> None:
    stops = GradientStops([torch.device("cuda")], lambda: True, lambda: True, lambda _, gradient, *__: gradient)
    stops.arm(frozenset({"1.mlp.grad"}))
    assert not torch._C._is_multithreading_enabled()
    stops.arm(frozenset({"1.mlp"}))
    assert torch._C._is_multithreading_enabled()
    other = GradientStops([torch.device("cpu")], lambda: True, lambda: True, lambda _, gradient, *__: gradient)
    other.arm(frozenset({"1.mlp.grad"}))
    assert torch._C._is_multithreading_enabled()


def test_a_program_that_attached_itself_is_suspended_in_its_backward_too() -> None:
    ids = torch.arange(1, 7)[None]
    alone = tiny_model("llama").train()
    alone(input_ids=ids, labels=ids).loss.backward()
    model, seen = tiny_model("llama").train(), []

    def front_end(program: AttachedProgram) -> None:
        session = do(Debugger(program), "until loss.grad")
        while session.stop.stage.address != "embed.weight.grad":
            seen.append(session.stop.stage.address)
            do(session, "step")
        program.stops.arm(())

    program = AttachedProgram("test", front_end, lambda _: None)
    program.attach(model)
    model(input_ids=ids, labels=ids).loss.backward()
    program.detach()
    assert {"loss.grad", "1.mlp.grad", "0.mlp.gate_proj.weight.grad"} <= set(seen)
    pairs = zip(model.parameters(), alone.parameters(), strict=True)
    assert all(one.grad is not None and other.grad is not None and one.grad.equal(other.grad) for one, other in pairs)


def test_an_edit_of_a_gradient_is_what_backward_goes_on_with() -> None:
    session = begun(PROGRAMS / "training.py", "until 1.grad", "edit out * 0", "until 0.grad")
    assert norm(session) == 0
    session.close()


def test_the_exception_of_a_backward_is_the_programs_and_leaving_in_one_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text(
        "import torch\nfrom tests.tiny import tiny_model\nmodel = tiny_model('llama').train()\n"
        "ids = torch.arange(1, 7)[None]\nmodel(input_ids=ids, labels=ids).loss.backward()\nprint('after')\n"
    )
    session = begun(path, "until 1.mlp.grad")
    assert at(session) == "1.mlp.grad@0"
    session.close()
    assert not hooks(session)


@pytest.mark.parametrize(
    ("kind", "stage", "what"),
    [
        ("half", "1.mlp.gate_proj.grad", "infinite"),
        ("brain", "1.mlp.gate_proj.grad", "infinite"),
        ("root", "1.mlp.gate_proj.grad", "NaN"),
        ("norm", "1.mlp.gate_proj.grad", "NaN"),
        ("custom", "1.mlp.gate_proj.grad", "infinite"),
        ("loss", "loss.grad", "-inf"),
    ],
)
def test_the_first_gradient_that_is_not_finite_names_the_module_it_came_out_of(
    kind: str, stage: str, what: str
) -> None:
    session = planted(kind, "break nonfinite", "continue")
    assert at(session) == f"{stage}@0"
    assert what in session.stop.why and "gradient[" in session.stop.why
    assert session.stop.why.endswith("out of the backward of 1.mlp.act_fn") is (kind != "loss")
    session.close()


@pytest.mark.parametrize(
    ("kind", "forward", "stage", "line", "operand"),
    [
        ("half", None, "1.mlp.act_fn.grad/MulBackward0", "return small * 2**14", "self float16[1,8,64] -"),
        ("brain", None, "1.mlp.act_fn.grad/MulBackward0", "return small * 2**14", "self bfloat16[1,8,64] -"),
        ("root", None, "1.mlp.act_fn.grad/SqrtBackward0", "return x + nothing.sqrt()", "other float32[1,8,64] -0…-0"),
        (
            "log",
            "1.mlp.act_fn/log.0",
            "1.mlp.act_fn.grad/LogBackward0",
            "return amount.log()",
            "other float32[1,8,64] 0…",
        ),
        (
            "norm",
            "1.mlp.act_fn/div.0",
            "1.mlp.act_fn.grad/DivBackward0",
            "unit = x / length",
            "other float32[1,8,1] 0…0",
        ),
        ("custom", None, "1.mlp.act_fn.grad/OwnBackward", "return gradient / 0", "self float32[1,8,64] -"),
        ("loss", None, "forward.grad/LogSoftmaxBackward0", "cross_entropy(", "grad_output float32[8,128] 0…inf"),
    ],
)
def test_the_operation_of_backward_is_named_with_its_operands_and_the_line_that_made_it(
    kind: str, forward: str | None, stage: str, line: str, operand: str
) -> None:
    session = planted(kind, "set depth op", "break nonfinite", "continue")
    if forward is not None:
        assert at(session) == f"{forward}@0", "in between the forward is not finite either"
        do(session, "continue")
    if kind == "loss":
        assert at(session) == "loss.grad@0", "what comes after the model is to blame"
        do(session, "continue")
    assert (at(session), session.stop.phase) == (f"{stage}@0", "backward")
    assert session.stop.code is not None and line in session.stop.code.text
    assert session.stop.code.operation.startswith("aten.") and operand in session.stop.why
    if kind == "half":
        assert session.stop.why.endswith(", other 1.64e+04"), "a number that is an operand"
    session.close()


@pytest.mark.parametrize("name", ["training.py", "checkpointed.py", "checkpointed_reentrant.py"])
def test_every_operation_of_backward_is_a_stop_and_changes_nothing(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(script(str(PROGRAMS / name), ()).run).code == 0
    alone = capsys.readouterr().out
    session = begun(PROGRAMS / name, "set depth op", "break 1.mlp.grad", "until logits@1")
    found = visits(session, "step")
    assert capsys.readouterr().out == alone
    of_backward = [each for each in found if ".grad/" in each]
    assert len(of_backward) > 100
    assert {"1.mlp.c_fc.grad/AddmmBackward0@1", "forward.grad/NllLossBackward0@2"} <= set(of_backward)
    assert "1.mlp.grad@1" in found
    assert not any(each.startswith("forward.grad/Addmm") for each in of_backward), "each belongs to its module"


def test_operations_of_backward_have_addresses_and_finish_goes_out_of_their_module() -> None:
    session = begun(PROGRAMS / "training.py", "break 1.mlp.grad/AddmmBackward0", "break 0.mlp.c_fc.grad/AddmmBackward0")
    do(session, "break op NllLossBackward0", "continue")
    assert at(session) == "forward.grad/NllLossBackward0@0"
    do(session, "continue", "info stage", "explain", "info source", "info locals")
    assert at(session) == "0.mlp.c_fc.grad/AddmmBackward0@0"
    do(session, "delete", "finish")
    assert session.stop.stage.kind == "grad"
    session.close()
