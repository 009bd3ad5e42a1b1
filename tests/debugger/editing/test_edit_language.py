"""From a line to an edit: what it means, what is refused and why, and the user's own Python."""

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdbg.debugger.editing.changes import EVERYWHERE, Positions
from llmdbg.debugger.editing.edit_language import MADE_AGAIN, read_edit, read_positions
from llmdbg.errors import AddressError, CommandError, EditError
from tests.debugger.edited import Bench, Elsewhere, different, same, visit_of
from tests.engine.runs import PROMPT


def but_5(x):
    x = x.clone()
    x[0, -1, 5] = 0
    return x


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("out * 2", lambda x: x * 2),
        ("out[0, -1, 5] = 0", but_5),
        ("torch.relu_(out)", torch.relu),
        ("for i in range(3): out += i", lambda x: x + 0 + 1 + 2),
        ("out = torch.stack([out[0] / each for each in (2, 4)])[1:]", lambda x: x / 4),
        ("out[:, :1].expand_as(out)", lambda x: x[:, :1].expand_as(x)),
    ],
)
def test_python_of_the_users_is_what_a_plain_hook_gives(code, change):
    bench = Bench()
    event, stages = bench.at("1")
    read = bench.read(f"edit {code}", event=event)
    stages.close()
    assert (read.text, read.stages, read.token) == (f"edit {code}", {"1"}, None)
    assert read.change.describe() == code
    bench.edits.add(read, since=0)
    same(bench.run(), bench.hooked("model.layers.1", lambda x, _: change(x)))
    different(bench.run(), Bench().run())


def test_python_sees_the_inputs_and_the_model():
    bench = Bench()
    event, stages = bench.at("1.mlp.down_proj")
    read = bench.read("edit inputs[0] @ model.model.layers[1].mlp.down_proj.weight.T * 3", event=event)
    assert torch.allclose(read.change.apply(event, len(PROMPT)), event.output * 3, atol=1e-5)
    stages.close()


def test_python_for_one_token():
    bench = Bench()
    event, stages = bench.at("1", token=1)
    bench.edits.add(bench.read("edit @3 -out", token=1, event=event), since=1)
    stages.close()
    same(bench.run(), bench.hooked("model.layers.1", lambda x, token: -x if token == 3 else x))
    different(bench.run(), Bench().run())


def test_python_writes_into_copies_alone():
    bench = Bench()
    event, stages = bench.at("1.mlp.down_proj")
    kept = [each.clone() for each in (event.args[0], event.output, bench.model.lm_head.weight)]
    bench.read("edit inputs[0].mul_(0); out.mul_(0)", event=event)
    draft = bench.read("edit model.lm_head.weight[:12][None]", event=event)
    draft.change.apply(event, len(PROMPT)).zero_()
    assert all(map(torch.equal, kept, (event.args[0], event.output, bench.model.lm_head.weight)))
    stages.close()


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("3", Positions(((3, 3),))),
        ("3,5-7", Positions(((3, 3), (5, 7)))),
        ("last", Positions((), newest=True)),
        ("-1", Positions((), newest=True)),
        ("0,last", Positions(((0, 0),), newest=True)),
        ("all", EVERYWHERE),
    ],
)
def test_positions_as_a_person_types_them(text, positions):
    assert read_positions("zero", text) == positions
    assert read_positions("zero", str(positions)) == positions


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "an edit starts with zero, scale, ablate, patch or edit, not ''"),
        ("zer 12", "not 'zer'"),
        ("zero", "zero needs an address: zero ADDRESS [at POSITIONS]"),
        ("zero at 3", "zero needs an address"),
        ("zero 0 at", "zero … at takes positions, as in 3, 3,5-7, last or all, and got none"),
        ("zero 0 at 7-5", "not '7-5'"),
        ("zero 0 at -2", "not '-2'"),
        ("zero 0 at 3,all", "not '3,all'"),
        ("zero 0 at 3 at 4", "not '3at4'"),
        ("zero tokenize", "change the prompt instead"),
        ("zero sample", "nothing can be edited at sample, which chooses a token: `force TOKEN` or `ban TOKEN`"),
        ("zero 0@1", "0@1 is over: this is token 2"),
        ("scale 0", "scale needs an address and a number: scale ADDRESS FACTOR [at POSITIONS]"),
        ("scale 0 twice", "as in `scale 12 0.5`, not by 'twice'"),
        ("scale 0 nan", "not by 'nan'"),
        ("scale 0 1e999", "not by '1e999'"),
        ("ablate 0", "ablate needs an address and heads=…"),
        ("ablate heads=1", "ablate needs an address"),
        ("ablate 0 heads=", "heads= takes head numbers, as in heads=3,5-7, or all, not ''"),
        ("ablate 0 heads=1,-2", "not '1,-2'"),
        ("ablate 0 heads=2-4", "there is no head 4: those of 0.self_attn are 0 to 3"),
        ("ablate 0 heads=0-999999999", "there is no head 999999999"),
        ("ablate 0.mlp heads=1", "no attention in 0.mlp: name a layer or its attention, as in 0.self_attn"),
        ("patch 0", "patch needs an address and another run"),
        ("patch 0 from", "patch needs an address and another run"),
        ("patch 0 from b2", "patch needs another run"),
        ("edit", "edit needs Python"),
        ("edit out * 2", "there is none here"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(line, reason):
    with pytest.raises(EditError, match=re.escape(reason)):
        Bench().read(line, token=2)


@pytest.mark.parametrize("line", ["zero 7", "scale 0.mpl 2", "ablate 9 heads=1", "patch 0.foo from b2", "zero 0@x"])
def test_an_address_that_names_nothing_is_refused(line):
    with pytest.raises(AddressError):
        Bench().read(line)


def test_a_branch_that_never_came_there_is_refused():
    bench = Bench(other_run=lambda _: Elsewhere(lambda _address, token: torch.ones(1) if token > 4 else None))
    with pytest.raises(EditError, match="branch b2 has no value of 0 at token 3"):
        bench.read("patch 0 from b2", token=3)
    bench.read("patch 0@5 from b2", token=3)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("out *", "this is not valid Python: invalid syntax"),
        ("out[0", "this is not valid Python: '[' was never closed"),
        ("nobody", "there is no name 'nobody' here: there are out, inputs, returned, given, torch and model"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("exit()", "SystemExit"),
        ("out[0, 99] = 1", "IndexError: index 99 is out of bounds"),
        ("out @ out", "RuntimeError"),
        ("3", "the expression returns int, not an ordinary tensor, as in `edit out * 2`"),
        ("del out", "`out` becomes NoneType"),
        ("out = 3", "`out` becomes int"),
        ("import os", "this assigns nothing to `out`"),
        ("x = 1; inputs[0].zero_()", "this assigns nothing to `out`"),
        ("exec('x = 1'); 1 / 0", "ZeroDivisionError"),
        ("out.to_sparse()", "not an ordinary tensor"),
        ("out[:, :, :12]", "the edit turns float32[1, 12, 32] into float32[1, 12, 12]"),
        (
            "out.bfloat16()",
            "the edit turns float32[1, 12, 32] into bfloat16[1, 12, 32]: shape, dtype and device must stay",
        ),
        ("out.to('meta')", "the edit turns float32[1, 12, 32] on cpu into float32[1, 12, 32] on meta"),
        ("\0", "this is not valid Python"),
        ("(" * 400, "this is not valid Python"),
        ("\ud800", "this is not valid Python"),
        ("out = " + "-" * 100_000 + "1", "this is not valid Python"),
        ("@5 nobody", "there is no name"),
    ],
)
def test_python_that_fails_is_told_at_once(code, reason):
    bench = Bench()
    event, stages = bench.at("1")
    before = (event.args, event.kwargs, event.output, event.output.clone())
    with pytest.raises(EditError, match=re.escape(reason)) as raised:
        bench.read(f"edit {code}", event=event)
    assert "\n" not in str(raised.value)
    assert event.args is before[0] and event.kwargs is before[1] and event.output is before[2]
    assert torch.equal(event.output, before[3])
    stages.close()


def test_what_python_warns_of_is_not_told():
    bench = Bench()
    event, stages = bench.at("1")
    bench.read("edit out if 1 is 1 else -out", event=event)
    stages.close()


def test_python_at_stages_that_nothing_can_change_is_refused():
    bench = Bench()
    event, stages = bench.at("sample")
    with pytest.raises(EditError, match="force TOKEN"):
        bench.read("edit out * 0", event=event)
    stages.close()


def test_every_edit_is_tried_where_the_run_stands():
    bench = Bench()
    indices = visit_of(torch.ones(1, 12, 4, dtype=torch.int64))
    with pytest.raises(EditError, match=r"the edit turns int64\[1, 12, 4\] into float32\[1, 12, 4\]"):
        bench.read("scale 1 2", event=indices)
    bench.read("scale 0 2", event=indices)
    bench.read("scale 1@3 2", event=indices)
    event, stages = bench.at("0.self_attn.o_proj")
    given, made = event.args, event.output
    bench.read("ablate 0 heads=1", event=event)
    assert event.args is given and event.output is made
    stages.close()


@pytest.mark.parametrize(
    ("line", "description"),
    [
        ("zero 0", "zero"),
        ("zero 0 at 3,5-7", "zero at 3,5-7"),
        ("  scale 0-1.mlp  .5   at last ", "× 0.5 at last"),
        ("scale layer 1 -2e-1", "× -0.2"),
        ("ablate 0 heads=3", "without head 3"),
        ("ablate *.self_attn heads = 0, 2-3 at 1, 2", "without heads 0, 2, 3 at 1,2"),
        ("ablate layer 0@4 heads=1", "without head 1"),
    ],
)
def test_the_text_makes_the_edit_again(line, description):
    bench = Bench()
    read = bench.read(line)
    assert read.text == line.strip()
    assert read.change.describe() == description
    assert bench.read(read.text) == read
    assert read.text.partition(" ")[0] in MADE_AGAIN


TYPED = """
zero scale ablate patch edit at from last -1 all heads= heads=1 heads=all 0.5 1e9 b2
0 1 7 12 0-1 *.mlp * layer 0.self_attn 1.mlp norm sample logits 3,5-7 @2 @ , - . \0 é \u202e
out out[0] = [ ( ] ) inputs torch model
"""
GROUNDS: dict[object, Any] = {}


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(TYPED.split()), max_size=7),
    st.text("zeroscale at,.-@=0123456789[]()out\n\t", max_size=12),
    st.booleans(),
)
def test_no_text_raises_anything_but_what_says_what_is_wrong(words, noise, standing):
    if not GROUNDS:
        bench = Bench()
        event, GROUNDS["kept"] = bench.at("1")
        GROUNDS[True] = bench.ground(event=event, other_run=lambda _: Elsewhere(lambda *_: torch.ones(1, 12, 32)))
        GROUNDS[False] = bench.ground()
    for line in (" ".join(words), " ".join([*words, noise]), noise):
        try:
            read = read_edit(line, GROUNDS[standing])
        except (CommandError, AddressError) as error:
            assert str(error)
        else:
            assert read.text == line.strip()
            assert read.stages
