"""`lane N`: everything is about one row of the batch, and its numbers are those that transformers has for that row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.registry import Answer
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError
from llmdbg.frontends.answers.json_fields import stop_fields
from llmdbg.frontends.answers.stops import stop_line
from llmdbg.models.demo import demo_folder
from llmdbg.probes.attention import AttentionMap
from llmdbg.probes.statistics import measure, read
from tests.engine.program.test_programs import PROGRAMS, begun, do
from tests.sessions import tiny_session
from tests.tiny import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore")

IDS = torch.tensor([[0, 0, 5, 17, 3], [0, 3, 4, 5, 8], [9, 8, 7, 6, 5], [0, 0, 0, 2, 11]])


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program changes of the process is put back."""
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def transformers_own(name: str) -> tuple[list[dict[str, torch.Tensor]], Any]:
    """What each module returned in each forward, by its path, and what `generate()` returned."""
    model = AutoModelForCausalLM.from_pretrained(name).eval() if Path(name).is_dir() else tiny_model(name)
    forwards: list[dict[str, torch.Tensor]] = []

    def note(path: str) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            if (tensor := main_tensor(output)) is not None and path not in forwards[-1]:
                forwards[-1][path] = tensor.clone()

        return hook

    model.register_forward_pre_hook(lambda *_: forwards.append({}))
    for path, module in model.named_modules():
        module.register_forward_hook(note(path))
    out = model.generate(
        IDS,
        attention_mask=(IDS > 0).long(),
        max_new_tokens=3,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return forwards, out


def part(tensor: torch.Tensor, lane: int, positions: int) -> torch.Tensor:
    """A lane's own part: its row, or its positions where all rows lie in one dimension."""
    if len(tensor) == len(IDS):
        return tensor[lane : lane + 1]
    flat = tensor.dim() == 2 and len(tensor) == len(IDS) * positions
    return tensor[lane * positions : (lane + 1) * positions] if flat else tensor


@pytest.mark.parametrize(
    "name", ["llama", "mistral", "gpt2", "gemma2", "mixtral", "olmoe", "falcon", "mamba", "smollm2"]
)
def test_every_module_and_choice_of_each_lane_is_transformers_own(name: str) -> None:
    """Statistics of modules bitwise; scores, candidates and tokens too."""
    name = str(demo_folder(lambda _: None)) if name == "smollm2" else name
    forwards, out = transformers_own(name)
    session = begun("batch_of_four.py", name)
    seen = 0
    while session.end is None:
        stop, lane = session.stop, (session.stop.token + seen) % len(IDS)
        do(session, f"lane {lane}")
        stop = session.stop
        kept = forwards[stop.token] if stop.token < len(forwards) else {}
        if stop.stage.kind != "sample" and not session.run.event.trail and stop.stage.module in kept:
            theirs = part(kept[stop.stage.module], lane, 5 if stop.token == 0 else 1)
            assert stop.tensor is not None and stop.lane == lane
            if theirs.is_floating_point():
                assert [stop.tensor.numbers] == read([measure(theirs)]), stop
                seen += 1
        if session.run.event.trail and stop.candidates is not None:
            theirs = out.logits[stop.token][lane]
            assert torch.equal(session.inspector.event.trail[0][1][0], theirs.float())
            assert stop.candidates.rows[0].id == int(theirs.argmax())
        if stop.chosen is not None:
            assert stop.chosen.id == int(out.sequences[lane, 5 + stop.token])
        assert session.run.generated_ids() == tuple(out.sequences[lane, 5 : 5 + stop.token + (stop.chosen is not None)])
        do(session, "step")
    assert seen > 20
    session.close()


def test_a_lane_is_chosen_for_lines_json_conditions_and_later_tokens() -> None:
    """Until another is; `lane all` describes the whole batch again."""
    forwards, out = transformers_own("llama")
    session = begun("batch_of_four.py", "llama")
    assert "lane" not in stop_fields(session.stop)
    do(session, "lane 2", "until 1.mlp")
    assert stop_fields(session.stop)["lane"] == 2 and "lane 2" in stop_line(session.stop)
    do(session, f"tbreak 1.mlp if norm > {float(forwards[1]['model.layers.1.mlp'][2].norm()) - 1e-4}", "continue")
    assert session.stop.token == 1 and session.stop.breakpoint is not None
    do(session, "lane all")
    described = stop_fields(session.stop)
    assert "lane" not in described and described["tensor"]["shape"][0] == 4
    do(session, "until logits")
    described = stop_fields(session.stop)
    assert described["lane"] == 0 and described["candidates"][0]["id"] == int(out.sequences[0, 6])
    session.close()


def test_attention_and_lens_are_the_lanes_own() -> None:
    """The weights are those that eager attention has for the row."""
    session = begun("batch_of_four.py", "gpt2")
    do(session, "lane 3", "until 0", "info lens", "until 1.attn", "info lens")
    with pytest.raises(CommandError, match=r"kept from here on, so ask at a later stop$"):
        do(session, "info attention")
    do(session, "until 1.attn@1")
    found = COMMANDS.run(session, "info attention")
    assert isinstance(found, Answer) and isinstance(found.data, AttentionMap)
    model = tiny_model("gpt2", attn="eager")
    steps = model.generate(
        IDS,
        attention_mask=(IDS > 0).long(),
        max_new_tokens=3,
        do_sample=False,
        output_attentions=True,
        return_dict_in_generate=True,
    ).attentions
    row = steps[1][1][3, :, -1]
    for head in found.data.heads:
        assert head.reads
        assert all(abs(each.weight - float(row[head.head, each.position])) < 1e-5 for each in head.reads)
    session.close()


def test_what_is_no_lane_is_refused() -> None:
    """In a line, and where one sequence runs as well."""
    session = begun("batch_of_four.py", "llama")
    with pytest.raises(CommandError, match=r"^there is no lane 4: this batch has lanes 0 to 3$"):
        do(session, "lane 4")
    with pytest.raises(CommandError, match="a row of the batch from 0, or `all`, not 'x'"):
        do(session, "lane x")
    session.close()
    with pytest.raises(CommandError, match=r"^tiny llama runs one sequence here: there is no other lane$"):
        do(tiny_session(), "lane 1")


def test_an_edit_of_a_lanes_scores_changes_that_lane_alone() -> None:
    """And the program chooses what the edit makes the likeliest."""
    _, out = transformers_own("llama")
    session: Debugger = begun("batch_of_four.py", "llama")
    do(session, "lane 1", "until logits", "edit out[0, 20] = 1e4", "token")
    assert session.stop.chosen is not None and session.stop.chosen.id == 20
    do(session, "lane 0")
    assert session.stop.chosen is not None and session.stop.chosen.id == int(out.sequences[0, 5])
    session.close()
