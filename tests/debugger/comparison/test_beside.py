"""A reference that stands beside a run: it follows to the same stage, and changes nothing."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.beside import ReferenceRun
from llmdbg.debugger.comparison.references.following import FollowingRun
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.beside_answer import apart_from_reference
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import CommandError
from tests.debugger.comparison.sides import PROMPT, faulty, side
from tests.engine.runs import hooks_on, untouched
from tests.sessions import do
from tests.tiny import tiny_model

SAMPLED = GenerationSettings(max_new_tokens=6, temperature=1.3, seed=7)
GREEDY = GenerationSettings(max_new_tokens=4, greedy=True)


def _nothing(_: PreTrainedModel) -> None:
    return None


def _scale(model: PreTrainedModel) -> None:
    model.model.layers[1].self_attn.scaling *= 1.5


def _beside(candidate: PreTrainedModel, reference: PreTrainedModel, settings: GenerationSettings = GREEDY) -> Debugger:
    debugger = Debugger(side(candidate, settings=settings).debuggee())
    debugger.other_runs = lambda _text, _debuggee: side(reference, settings=settings).debuggee()
    do(debugger, "reference other")
    return debugger


def test_a_copy_is_bitwise_the_same_at_every_stage() -> None:
    """Both stand at the same stage, whichever way the run goes."""
    model = tiny_model("llama")
    debugger = _beside(faulty(model, _nothing), model)
    seen = 0
    for line in ["step"] * 30 + ["token", "next", "reverse-next", "step", "reverse-token", "goto 1.mlp@2", "step"]:
        do(debugger, line)
        stop = debugger.stop
        if stop.beside is not None:
            seen += 1
            assert stop.beside.equal, stop
            reference = debugger.run.reference
            assert isinstance(reference, ReferenceRun)
            assert isinstance(reference.source, FollowingRun)
            here = reference.source.at(stop.token, stop.stage.address)
            assert here is not None
            assert (here.token, here.stage.address) == (stop.token, stop.stage.address)
    assert seen > 30
    debugger.close()


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_run_with_a_reference_is_bitwise_one_without(settings: GenerationSettings) -> None:
    """What the reference draws is not missing from the run's own random streams, and all hooks come off."""
    model = tiny_model("llama")
    reference = faulty(model, _nothing, torch.bfloat16)
    expected = untouched(model, PROMPT, settings)
    debugger = _beside(model, reference, settings)
    do(debugger, "break * if apart > 1e9", "break diverged", "delete 2", "step", "next", "continue")
    assert debugger.end is not None
    assert list(debugger.end.ids) == expected.ids
    debugger.close()
    assert hooks_on(model) == hooks_on(reference) == 0


def test_the_run_stops_where_the_two_part() -> None:
    """At the first stage that is further off than those before it, with both suspended there."""
    model = tiny_model("llama")
    debugger = _beside(faulty(model, _scale), model)
    do(debugger, "break diverged", "continue")
    stop = debugger.stop
    assert (stop.token, stop.stage.address) == (0, "1.self_attn.o_proj")
    assert stop.why.startswith("diverged: ")
    compared = debugger.compared_here()
    assert compared[-1] == "1.self_attn.o_proj" and {"embed", "0", "1.self_attn.q_proj"} <= set(compared)
    do(debugger, "next")
    apart = apart_from_reference(debugger.inspector)
    assert apart is not None
    assert apart["1.self_attn.o_proj"] > 0 and apart["1.self_attn.q_proj"] == 0.0
    assert stop.beside is not None
    assert stop.beside.apart is not None
    assert stop.beside.apart > 1e-3
    assert stop.beside.by_itself is not None
    assert stop.beside.by_itself < 1e-6
    debugger.close()


def test_it_stops_there_again_when_it_is_run_again() -> None:
    """A run that begins anew is held against none of what it found before."""
    model = tiny_model("llama")
    debugger = _beside(faulty(model, _scale), model)
    do(debugger, "break diverged", "continue")
    first = debugger.stop
    for again in ("run", "reverse-step", "continue"):
        do(debugger, again)
    assert (debugger.stop.token, debugger.stop.stage) == (first.token, first.stage)
    do(debugger, "run")
    assert (debugger.stop.token, debugger.stop.stage) == (first.token, first.stage)
    debugger.close()


def test_a_breakpoint_says_that_it_waits_for_a_reference() -> None:
    """It is set, and could not be hit before."""
    model = tiny_model("llama")
    debugger = Debugger(side(model).debuggee())
    for line in ("break diverged", "break * if apart > 1", "watch apart"):
        assert "`reference MODEL`" in str(do(debugger, line).done)
    assert do(debugger, "break 1 if norm > 1").done == ""
    debugger.other_runs = lambda _text, _debuggee: side(model).debuggee()
    do(debugger, "reference other")
    assert do(debugger, "break diverged").done == ""
    debugger.close()


def test_rounding_is_no_divergence() -> None:
    """A reference in bfloat16 is off everywhere, and the run goes on to its end."""
    model = tiny_model("llama")
    debugger = _beside(model, faulty(model, _nothing, torch.bfloat16))
    do(debugger, "break diverged", "continue")
    assert debugger.end is not None
    debugger.close()


def test_conditions_know_how_far_apart_the_runs_are() -> None:
    """`apart` is a quantity like any other, unknown without a reference."""
    model = tiny_model("llama")
    debugger = _beside(faulty(model, _scale), model)
    do(debugger, "break * if apart > 1e-4", "continue")
    assert debugger.stop.stage.address == "1"
    do(debugger, "reference off", "run")
    assert debugger.end is not None
    debugger.close()


def test_another_text_is_followed() -> None:
    """After a forced token the reference reads it too."""
    model = tiny_model("llama")
    debugger = _beside(faulty(model, _nothing), model)
    do(debugger, "token", "force 9", "token", "step")
    assert debugger.stop.beside is not None
    assert debugger.stop.beside.equal
    debugger.close()


def test_what_stands_beside_is_said() -> None:
    """By the command alone, and when it is left."""
    model = tiny_model("llama")
    debugger = _beside(model, faulty(model, _nothing))
    assert do(debugger, "reference").data == "beside this run: other"
    assert "any more" in do(debugger, "reference off").data
    assert do(debugger, "reference").data == "no run stands beside this one"
    debugger.other_runs = None
    with pytest.raises(CommandError, match="cannot open another run"):
        do(debugger, "reference other")
    debugger.close()
