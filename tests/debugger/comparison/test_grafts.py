"""Another run's values in the place of this one's: `patch ADDRESS from OTHER`, also called `graft`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError, EditError
from tests.debugger.comparison.sides import PROMPT, faulty, side
from tests.engine.runs import hooks_on, untouched
from tests.sessions import do
from tests.tiny import tiny_model

GREEDY = GenerationSettings(max_new_tokens=4, greedy=True)
SAMPLED = GenerationSettings(max_new_tokens=6, temperature=1.3, seed=7)


def _nothing(_: PreTrainedModel) -> None:
    return None


def _head(model: PreTrainedModel) -> None:
    model.lm_head.weight.data = model.lm_head.weight.data.flip(0)


def _keys(model: PreTrainedModel) -> None:
    model.model.layers[0].self_attn.k_proj.weight.data *= -3.0


def _beside(
    model: PreTrainedModel, other: PreTrainedModel, settings: GenerationSettings = GREEDY
) -> tuple[Debugger, list[str]]:
    """A session that opens `other` as whatever is asked for, and what was asked for."""
    asked: list[str] = []
    debugger = Debugger(side(model, settings=settings).debuggee())

    def opened(text: str, _debuggee: object) -> object:
        asked.append(text)
        return side(other, settings=settings).debuggee()

    debugger.other_runs = opened  # type: ignore[assignment]
    return debugger, asked


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize(
    ("fault", "stage"), [(_head, "lm_head"), (_keys, "0.self_attn.k_proj")], ids=["head", "k_proj"]
)
def test_the_one_faulty_stage_grafted_gives_the_other_run(
    fault: Callable[[PreTrainedModel], None], stage: str, settings: GenerationSettings
) -> None:
    """Bitwise, from this token on, and whatever is drawn."""
    model = tiny_model("llama")
    broken = faulty(model, fault)
    expected, without = (untouched(each, PROMPT, settings) for each in (model, broken))
    assert expected.ids != without.ids
    debugger, asked = _beside(broken, model, settings)
    done = do(debugger, f'graft {stage} from "good --dtype float32"', "step", "continue")
    assert debugger.end is not None, done
    assert list(debugger.end.ids) == expected.ids
    assert asked == ["good --dtype float32"]
    debugger.close()
    assert hooks_on(model) == hooks_on(broken) == 0


def test_a_graft_is_an_edit_like_any_other() -> None:
    """Listed, switched, undone; the other run is opened once, and without the graft nothing has changed."""
    model = tiny_model("llama")
    broken = faulty(model, _head)
    expected, without = (untouched(each, PROMPT, GREEDY).ids for each in (model, broken))
    debugger, asked = _beside(broken, model)
    do(debugger, "until lm_head", "graft lm_head from 'good'")
    assert [each.text for each in do(debugger, "info edits").data] == ["patch lm_head from 'good'"]
    assert debugger.run.edits.report()[0].does == "from good"
    assert "changed" in debugger.edits.done
    do(debugger, "continue")
    assert debugger.end is not None
    assert list(debugger.end.ids) == expected
    do(debugger, "edits off", "run")
    assert debugger.end is not None
    do(debugger, "goto tokenize@0", "undo")
    assert do(debugger, "edits").data == ()
    do(debugger, "continue")
    assert debugger.end is not None
    assert list(debugger.end.ids) == without
    do(debugger, "goto 0@1", "graft lm_head@2 from 'good'")
    assert asked == ["good"]
    debugger.close()


def test_it_is_taken_again_wherever_the_run_goes() -> None:
    """Going back, forcing another token and a branch: the other run follows this one's text."""
    model = tiny_model("llama")
    other = faulty(model, _keys)
    debugger, _ = _beside(model, other)
    do(debugger, "until 0@2", "graft 0.self_attn.k_proj from 'other'")

    def expect() -> torch.Tensor:
        found: list[torch.Tensor] = []
        ids = debugger.debuggee.generated
        run = side(other, ids=(*PROMPT, *ids[:2])).debuggee()
        events = run.events()
        next(events)
        run.stops.arm(["0.self_attn.k_proj"])
        here = main_tensor(next(events).output)
        assert here is not None
        found.append(here[:, -1].clone())
        events.close()
        return found[0]

    for lines in (["reverse-step", "step"], ["goto 0@2"], ["goto sample@1", "force 9", "goto 0.self_attn.k_proj@2"]):
        do(debugger, *lines)
        do(debugger, "goto 0.self_attn.k_proj@2")
        if debugger.run.edits.list():
            here = main_tensor(debugger.run.event.output)
            assert here is not None
            assert torch.allclose(here[:, -1], expect(), atol=1e-5)
    debugger.close()


def test_the_run_beside_this_one_is_one_too() -> None:
    """`reference` names it; a branch of that name would come first."""
    model = tiny_model("llama")
    debugger, asked = _beside(faulty(model, _head), model)
    with pytest.raises(CommandError, match="no run stands beside this one"):
        do(debugger, "graft lm_head from reference")
    do(debugger, "reference good", "until lm_head", "graft lm_head from reference")
    assert debugger.stop.beside is not None
    assert debugger.stop.beside.equal
    do(debugger, "graft 0 from 'good'")
    assert asked == ["good"]
    debugger.close()


def test_a_range_is_grafted_in_this_run_s_dtype() -> None:
    """Values of a bfloat16 run stand in a float32 one."""
    model = tiny_model("llama")
    debugger, _ = _beside(model, faulty(model, _nothing, torch.bfloat16))
    do(debugger, "until 1", "graft 0-1.mlp from 'half'")
    for address in ("0.mlp", "1.mlp"):
        do(debugger, f"goto {address}")
        here = main_tensor(debugger.run.event.output)
        assert here is not None
        assert here.dtype == torch.float32
        assert torch.equal(here, here.bfloat16().float())
    assert debugger.run.edits.list()[0].stages == {"0.mlp", "1.mlp"}
    debugger.close()


def test_another_shape_is_refused_in_a_line_that_names_both() -> None:
    """Nothing is changed, whether the stage is to come, is here or has passed."""
    model = tiny_model("llama")
    config = copy.deepcopy(model.config)
    config.hidden_size, config.head_dim = 64, 16
    debugger, _ = _beside(model, type(model)(config).eval())
    place = do(debugger, "until 1.mlp").stop
    for stage in ("0.mlp", "1.mlp"):
        with pytest.raises(EditError, match=r"is float32\[1, 12, 64\] in wide and float32\[1, 12, 32\] here"):
            do(debugger, f"graft {stage} from 'wide'")
    assert do(debugger, "edits").data == ()
    assert debugger.stop.stage == place.stage
    debugger.close()


def test_what_the_other_run_lacks_is_said() -> None:
    """A stage that it does not have, a branch that is none, and a session that can open nothing."""
    model = tiny_model("llama")
    debugger, _ = _beside(model, tiny_model("gpt2"))
    with pytest.raises(EditError, match=r"gpt has no stage 0\.self_attn"):
        do(debugger, "graft 0.self_attn from 'gpt'")
    with pytest.raises(CommandError, match=r"there is no branch 'gpt' .*another model or a recording goes in quotes"):
        do(debugger, "graft 0.mlp from gpt")
    debugger.other_runs = None
    with pytest.raises(CommandError, match="cannot open another run"):
        do(debugger, "graft 0.mlp from 'more'")
    debugger.close()


def test_each_call_of_a_stage_gets_its_own_value() -> None:
    """A module that runs twice in a forward: with the values of an equal run, nothing is another."""
    model = tiny_model("llama")

    def twice(changed: PreTrainedModel) -> None:
        mlp = changed.model.layers[0].mlp
        mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.act_fn(mlp.up_proj(x)))

    one, other = (faulty(model, twice) for _ in range(2))
    expected = untouched(one, PROMPT, GREEDY)
    debugger, _ = _beside(one, other)
    do(debugger, "graft 0.mlp.act_fn from 'equal'", "until logits")
    assert torch.equal(debugger.run.event.output, expected.logits[0])
    do(debugger, "continue")
    assert debugger.end is not None
    assert list(debugger.end.ids) == expected.ids
    assert not any(each.changed for each in debugger.run.edits.counted(1))
    debugger.close()


def _recorded(debugger: Debugger, folder: Path, keeps: str = "all") -> None:
    do(debugger, f"record {folder} {keeps}", "continue")
    debugger.close()


def test_a_recording_is_grafted(tmp_path: Path) -> None:
    """Whole tensors, bitwise; what is missing is named."""
    model = tiny_model("llama")
    broken = faulty(model, _head)
    expected = untouched(model, PROMPT, GREEDY).ids
    _recorded(Debugger(side(model, settings=GREEDY).debuggee()), tmp_path / "run")
    debugger, asked = _beside(broken, model)
    do(debugger, f'graft lm_head from "{tmp_path / "run"}"', "continue")
    assert debugger.end is not None
    assert list(debugger.end.ids) == expected
    assert asked == []
    debugger.close()


def test_what_a_recording_lacks_is_said(tmp_path: Path) -> None:
    """Tensors that were not kept, tokens beyond its end, another text, and another prompt."""
    model = tiny_model("llama")
    _recorded(Debugger(side(model, settings=GREEDY).debuggee()), tmp_path / "run")
    _recorded(Debugger(side(model, settings=replace(GREEDY, max_new_tokens=1)).debuggee()), tmp_path / "short")
    _recorded(Debugger(side(model).debuggee()), tmp_path / "rows", keeps="1.mlp")
    debugger, _ = _beside(faulty(model, _head), model)
    with pytest.raises(EditError, match=r"rows kept no whole tensor of 0\.mlp: record it with `--tensors all`"):
        do(debugger, f'graft 0.mlp from "{tmp_path / "rows"}"')
    with pytest.raises(EditError, match="short has no token 1: the recording ends before"):
        do(debugger, f'graft 1.mlp@1 from "{tmp_path / "short"}"')
    do(debugger, "token 2")
    with pytest.raises(EditError, match="run is a recording of another text: it parts at token 0"):
        do(debugger, f'graft 1.mlp from "{tmp_path / "run"}"')
    debugger.close()
    other = Debugger(side(model, ids=(*PROMPT[:-1], 4)).debuggee())
    with pytest.raises(EditError, match="is a recording of another prompt"):
        do(other, f'graft 0 from "{tmp_path / "run"}"')
    other.close()
