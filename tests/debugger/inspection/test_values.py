"""`x` and `info values`: the numbers of an untouched `generate()`, bit by bit, wherever they are asked for from."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection import values as insight
from llmdbg.debugger.inspection.values_answer import Values
from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import AddressError, CommandError
from llmdbg.frontends.answers import answer_json, answer_lines, answer_tables
from tests.sessions import do, opened, tiny_session

NAMES = ("llama", "mistral", "gemma2", "gpt2", "gpt_neox", "qwen3_moe", "falcon", "mamba", "opt")


def asked(session: Debugger, line: str) -> Values:
    found = do(session, line).data
    assert isinstance(found, Values), found
    return found


def heard(session: Debugger, addresses: list[str]) -> dict[str, torch.Tensor]:
    """What modules give out in an untouched `generate()` of one token."""
    model, found, hooks = session.inspector.model, {}, []
    for address in addresses:

        def keep(_module, _args, output, address=address):
            found[address] = main_tensor(output).clone()

        hooks.append(session.debuggee.anatomy.modules[address].register_forward_hook(keep))
    model.generate(torch.tensor([session.debuggee.prompt.ids]), max_new_tokens=1, do_sample=False)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_those_of_an_untouched_generate(name: str) -> None:
    session = tiny_session(name)
    addresses = [
        each.address for each in session.debuggee.anatomy.stages if each.address in session.debuggee.anatomy.modules
    ]
    addresses = [each for each in addresses if each.partition(".")[0] in ("embed", "0", "1", "norm")]
    expected = heard(tiny_session(name), addresses)
    do(session, "goto sample@0")
    place, stop = session.run.place, session.stop
    checked = 0
    for address, tensor in expected.items():
        if session.run.stages.has(address) and tensor.numel():
            found = do(session, f"x {address}[...]").data
            if not isinstance(found, Values):
                # Shared modules and those of another forward have no stage of this token.
                continue
            checked += 1
            wide = tensor.double() if tensor.is_floating_point() else tensor.long()
            assert list(found.numbers) == wide.flatten().tolist()[: insight.COUNT]
            assert found.shape == tuple(tensor.shape)
            assert found.summary is not None
            assert found.summary.max is not None
            assert found.summary.max.value == wide.max().item()
            assert wide[found.summary.max.index].item() == found.summary.max.value
    assert checked >= 5
    assert (session.run.place, session.stop) == (place, stop)


def test_the_demo_model(demo: Debugger) -> None:
    expected = heard(demo, ["12.mlp", "embed"])
    do(demo, "goto 13.self_attn")
    found = asked(demo, "x 12.mlp[0] by magnitude")
    wide = expected["12.mlp"][0].double()
    assert [abs(each) for each in found.numbers] == wide.abs().flatten().sort(descending=True).values[:128].tolist()
    assert asked(demo, "x embed[0, -1]").numbers == tuple(expected["embed"][0, -1].double().tolist()[:128])


@pytest.fixture(scope="module")
def demo() -> Debugger:
    return opened("smollm2", "The capital of France is", max_new_tokens=2, greedy=True)


def test_without_a_slice_it_is_the_vector_at_the_focus() -> None:
    session = tiny_session()
    do(session, "goto 1.mlp@0")
    tensor = main_tensor(session.run.event.output)
    assert tensor is not None
    last = tensor.shape[1] - 1
    found = asked(session, "info values")
    assert (found.slice, found.sliced, found.part, found.token) == (f"[0, {last}]", (32,), "output", 0)
    assert found.numbers == tuple(tensor[0, -1].double().tolist())
    do(session, "focus 3")
    assert asked(session, "x").numbers == tuple(tensor[0, 3].double().tolist())
    assert asked(session, "x 0").slice == "[0, 3]"
    do(session, "goto 1.mlp@2")
    assert asked(session, "x .").slice == "[0, 0]"


def test_left_padding_is_counted_like_any_position() -> None:
    session = opened("smollm2", "Hello there", max_new_tokens=2, greedy=True, left_pad=3)
    bare = opened("smollm2", "Hello there", max_new_tokens=2, greedy=True)
    for each in (session, bare):
        do(each, "goto 2@0")
    padded, plain_one = asked(session, "x"), asked(bare, "x")
    assert padded.shape[1] == plain_one.shape[1] + 3
    assert padded.slice == f"[0, {padded.shape[1] - 1}]"
    torch.testing.assert_close(torch.tensor(padded.numbers), torch.tensor(plain_one.numbers), rtol=1e-4, atol=1e-4)


def test_what_goes_in_and_what_comes_out() -> None:
    session = tiny_session()
    do(session, "goto 1.mlp")
    assert asked(session, "x in").part == "input"
    assert asked(session, "x in").numbers == asked(session, "x 1.post_attention_layernorm").numbers
    assert asked(session, "x 0.mlp.in[0, 2]").numbers == asked(session, "x 0.post_attention_layernorm[0, 2]").numbers


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("x model.layers.1.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"),
        ("x 1.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"),
        ("x embed.weight", "model.embed_tokens.weight"),
        ("x norm.weight", "model.norm.weight"),
        ("x logits.weight", "lm_head.weight"),
        ("x lm_head.weight", "lm_head.weight"),
        ("x model.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"),
    ],
)
def test_parameters_and_buffers(line: str, name: str) -> None:
    session = tiny_session()
    found = asked(session, line)
    model = session.inspector.model
    tensor = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    assert (found.address, found.part, found.token) == (name, "parameter", None)
    assert found.numbers == tuple(tensor[name].double().flatten().tolist()[: insight.COUNT])


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantised_weights_are_shown_as_the_layer_uses_them(quantize: str) -> None:
    pytest.importorskip("bitsandbytes")
    session = opened("smollm2", "Hello", max_new_tokens=1, quantize=quantize, device="cpu")
    layer: Any = session.debuggee.anatomy.modules["3.self_attn.k_proj"]
    for place in ("next", "goto sample@0"):
        do(session, place)
        if layer.weight.dtype is torch.uint8 and getattr(layer.weight.quant_state, "packing_format_for_cpu", False):
            with pytest.raises(CommandError, match="packed it for this CPU"):
                do(session, "x 3.self_attn.k_proj.weight")
            return
        found = asked(session, "x 3.self_attn.k_proj.weight[:8, :16]")
        assert found.note.startswith(f"{quantize[0]}-bit weights")
        assert found.shape == (192, 576)
        # What the layer makes of a unit vector is a column of its weight.
        columns = layer(torch.eye(576, dtype=session.inspector.model.dtype)[:16]).detach().double()[:, :8].T
        shown = torch.tensor(found.numbers, dtype=torch.float64).reshape(8, 16)
        torch.testing.assert_close(shown, columns, rtol=0.01, atol=1e-3)


def test_x_alone_goes_on_to_the_end() -> None:
    session = tiny_session()
    do(session, "next")
    asked(session, "x embed.weight[:5]")
    weight = session.inspector.model.get_input_embeddings().weight[:5].detach().double().flatten().tolist()
    second = asked(session, "x")
    assert second.offset == insight.COUNT
    assert second.summary is None
    assert list(second.numbers) == weight[insight.COUNT :]
    assert "there are no more" in do(session, "x").data
    assert asked(session, "x").offset == 0, "and begins again"
    ranked = asked(session, "x embed.weight[:5] by magnitude")
    more = asked(session, "x")
    magnitudes = [abs(each) for each in (*ranked.numbers, *more.numbers)]
    assert magnitudes == sorted(map(abs, weight), reverse=True)
    do(session, "next")
    assert asked(session, "x").offset == 0, "the run has moved"


def test_a_stage_that_has_run_costs_one_forward_and_none_while_someone_asks(monkeypatch) -> None:
    session, runs = tiny_session(), []
    record = session.replay.record_again
    monkeypatch.setattr(session.replay, "record_again", lambda: runs.append(1) or record())
    do(session, "goto 1.mlp@0")
    asked(session, "x 0.mlp[0, 2]")
    assert len(runs) == 1
    asked(session, "x 0.mlp[0, 2]")
    do(session, "next")
    insight.shown(session.inspector)
    assert len(runs) == 1
    asked(session, "x")
    asked(session, "x norm.weight")
    assert len(runs) == 1, "neither the stage here nor a weight costs any"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("x norm", "norm has not run yet for token 0"),
        ("x tokenize", "info tokens"),
    ],
)
def test_what_is_not_there_yet_is_said(line: str, says: str) -> None:
    session = tiny_session()
    do(session, "goto 0.mlp")
    assert says in do(session, line).data


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        ("x nothing", AddressError, "no stage and no parameter is called 'nothing'"),
        ("x 0.mlp.weight", AddressError, "no stage and no parameter"),
        ("x *.mlp", CommandError, "names 2 stages"),
        ("x 0@3", CommandError, "only values of token 0"),
        ("x 0[9]", CommandError, "out of range"),
        ("x 0.input_layernorm[0,0,0,0]", CommandError, "names 4 dimensions"),
        ("x 0 by size", CommandError, "cannot be read: write "),
        ("x 0[", CommandError, "cannot be read: write "),
        ("info values 0[0] as picture", CommandError, "cannot be read: write "),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(line: str, error: type, says: str) -> None:
    session = tiny_session()
    do(session, "goto 0.mlp")
    do(session, "next")
    with pytest.raises(error, match=None) as refused:
        do(session, line)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert asked(session, "x"), "and changes nothing"


def test_the_pane_follows_what_was_asked_for() -> None:
    session = tiny_session()
    do(session, "goto 1.mlp@0")
    followed = insight.shown(session.inspector)
    assert isinstance(followed, Values)
    assert followed.address == "1.mlp"
    asked(session, "x 0.mlp[0, 5]")
    shown = insight.shown(session.inspector)
    assert isinstance(shown, Values)
    assert (shown.address, shown.slice, shown.token) == ("0.mlp", "[0, 5]", 0)
    do(session, "goto 1.mlp@1")
    assert "out of range" in str(insight.shown(session.inspector)), "there is one position now"
    asked(session, "x 0.mlp[0, -1]")
    do(session, "goto 0.self_attn@2")
    assert insight.shown(session.inspector) == "0.mlp has not run yet for token 2"
    do(session, "goto 1@2")
    again = insight.shown(session.inspector)
    assert isinstance(again, Values)
    assert (again.address, again.token) == ("0.mlp", 2)
    asked(session, "x .")
    here = insight.shown(session.inspector)
    assert isinstance(here, Values)
    assert here.address == "1"


def test_a_window_is_fetched_and_nothing_else_is_computed(monkeypatch) -> None:
    session = tiny_session()
    do(session, "next")
    asked(session, "x embed.weight")
    insight.shown(session.inspector)
    monkeypatch.setattr(insight, "summary", lambda *_, **__: 1 / 0)
    found = insight.fetch(session.inspector, (3000, 70))
    assert isinstance(found, Values)
    weight = session.inspector.model.get_input_embeddings().weight.detach().double().flatten().tolist()
    assert (found.offset, list(found.numbers)) == (3000, weight[3000:3070])
    assert found.summary is not None, "what is known stays"
    monkeypatch.undo()
    stayed = insight.shown(session.inspector)
    assert isinstance(stayed, Values)
    assert stayed.offset == 3000, "where the pane was scrolled to"


def test_looking_leaves_the_run_as_it_was() -> None:
    looked, untouched = tiny_session(), tiny_session()
    for line in ("next", "next", "s", "x", "x 0[0]", "x in", "x embed by magnitude", "x 0 as heat", "x norm.weight"):
        do(looked, line)
    for session in (looked, untouched):
        do(session, "continue")
    assert looked.run.generated_ids() == untouched.run.generated_ids()
    assert torch.equal(looked.run.event.output, untouched.run.event.output)
    assert "NOT" not in " ".join(answer_lines(do(looked, "verify").data))


@pytest.mark.parametrize("how", ["", " by magnitude", " as heat", " as mean heat"])
def test_every_answer_has_text_json_and_a_table(how: str, tmp_path) -> None:
    session = tiny_session()
    do(session, "goto 1@0")
    found = asked(session, f"info values 0.mlp[0]{how}")
    assert all(len(each) <= 400 and "\n" not in each for each in answer_lines(found))
    told = json.loads(json.dumps(answer_json(found), allow_nan=False))
    assert told["shape"] == list(found.shape)
    assert told["summary"]["max"]["value"] == found.summary.max.value
    (table,) = answer_tables(found)
    assert table.rows
    session.exporter = lambda value, path: f"{len(answer_tables(value)[0].rows)} rows in {path.name}"
    assert "rows in v.csv" in str(do(session, f"info values 0.mlp[0]{how} > {tmp_path / 'v.csv'}").data)


def test_what_is_not_finite_is_told_where_it_is() -> None:
    session = tiny_session()
    do(session, "goto 1.mlp@0")
    tensor = main_tensor(session.run.event.output)
    assert tensor is not None
    with torch.inference_mode(tensor.is_inference()):
        tensor[0, 4, 7] = float("nan")
        tensor[0, 2, 1] = float("-inf")
    lines = answer_lines(asked(session, "x [...]"))
    assert "1 NaN, first at [0, 4, 7]" in lines
    assert "1 -inf, first at [0, 2, 1]" in lines
    assert any("?" in each and "!" in each for each in answer_lines(asked(session, "x [...] as heat")))


def test_x_is_a_command_like_any_other() -> None:
    assert COMMANDS.find("x").name == "x"


def test_x_writes_to_a_file_like_info(tmp_path) -> None:
    session = tiny_session()
    do(session, "goto 1.mlp")
    session.exporter = lambda value, path: f"{value.address} from {value.offset} in {path.name}"
    assert do(session, f"x 0.mlp[0] > {tmp_path / 'a.csv'}").data == "0.mlp from 0 in a.csv"
    assert do(session, f"x > {tmp_path / 'b.csv'}").data == "0.mlp from 128 in b.csv"
    with pytest.raises(CommandError, match="name one file"):
        do(session, "x 0.mlp >  ")


def test_nothing_but_nan_has_no_magnitudes_to_go_on_with() -> None:
    session = tiny_session()
    do(session, "goto 1")
    do(session, "edit out * float('nan')")
    told = answer_lines(do(session, "x 1[0, 0] by magnitude").data)
    assert not any("goes on" in line for line in told)
