"""Going back in a session: whatever the way, a place is what it was, bitwise."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import CommandError
from tests.engine.runs import hooks_on
from tests.sessions import do, here, tiny_session

WALKED = ("mistral", "llama", "gemma3", "qwen3_moe", "gpt2", "mamba", "lfm2", "recurrent_gemma")
GREEDY = {"max_new_tokens": 7}
SAMPLED = {"max_new_tokens": 7, "temperature": 1.3, "top_k": 40, "seed": 11}
TEXT = "The quick fox drinks tea"


def started(name="llama", how=GREEDY):
    return tiny_session(name, TEXT, **how)


def state(session):
    """Everything a place is: the tensor, the cache, the random streams, the tokens."""
    tensor = main_tensor(session.run.event.output)
    cache = session.debuggee.cache
    layers = [] if cache is None or not hasattr(cache, "layers") else cache.layers
    held = [value for layer in layers for value in flat(vars(layer))]
    return (
        session.run.place,
        None if tensor is None else tensor.clone(),
        [value.clone() for value in held],
        torch.get_rng_state(),
        session.run.generated_ids(),
        session.stop.candidates,
        session.stop.chosen,
        # What cannot be undone is noted once a run has ended, and so not at the first end.
        session.end and replace(session.end, notes=()),
    )


def flat(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from flat(item)


def equal(one, other):
    assert one[0] == other[0]
    assert (one[1] is None) == (other[1] is None)
    assert one[1] is None or torch.equal(one[1], other[1])
    assert len(one[2]) == len(other[2])
    for before, after in zip(one[2], other[2], strict=True):
        assert before.shape == after.shape and torch.equal(before, after)
    assert torch.equal(one[3], other[3])
    assert one[4:] == other[4:]


def walked(name, how):
    """Every place of a run, with its state, in order."""
    session = started(name, how)
    states = [state(session)]
    while session.end is None:
        do(session, "step")
        states.append(state(session))
    session.close()
    return states


@pytest.fixture(scope="module")
def known():
    kept = {}

    def of(name, sampled):
        if (name, sampled) not in kept:
            kept[name, sampled] = walked(name, SAMPLED if sampled else GREEDY)
        return kept[name, sampled]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("name", WALKED)
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), sampled=st.booleans())
def test_two_hundred_commands_at_random(known, name, seed, sampled):
    states = known(name, sampled)
    places = [each[0] for each in states]
    session = started(name, SAMPLED if sampled else GREEDY)
    model = session.inspector.model
    chosen = random.Random(seed)
    for _ in range(200):
        at = places.index(session.run.place)
        line, want = a_command(chosen, session, places, at)
        try:
            do(session, line)
        except CommandError:
            want = at
        if want is not None:
            assert session.run.place == places[want], (line, places[at])
        equal_but_random(states[places.index(session.run.place)], session)
    equal(states[places.index(session.run.place)], state(session))
    session.close()
    assert hooks_on(model) == 0


def equal_but_random(known_state, session):
    tensor = main_tensor(session.run.event.output)
    assert tensor is None or torch.equal(known_state[1], tensor)
    assert known_state[4] == session.run.generated_ids()


def a_command(chosen, session, places, at):
    """A command and the index of the place it should lead to, None where only the state is checked."""
    last, count = len(places) - 1, chosen.choice([1, 1, 1, 2, 5])
    kind = chosen.choice(["step", "reverse-step", "goto", "reverse-token", "token", "next", "reverse-next", "finish"])
    if kind == "step":
        return f"step {count}", min(at + count, last)
    if kind == "reverse-step":
        return f"rs {count}", max(at - count, 0)
    if kind == "goto":
        index = chosen.randrange(len(places))
        place = places[index]
        if place.occurrence:
            return "step", min(at + 1, last)
        return f"goto {place.address}@{place.token}", index
    if kind == "reverse-token":
        before = [n for n in range(at) if places[n].address == "sample"]
        return f"rt {count}", before[-count] if count <= len(before) else 0
    if kind == "token":
        after = [n for n in range(at + 1, last + 1) if places[n].address == "sample"]
        return f"token {count}", after[min(count, len(after)) - 1] if after else at
    if kind == "reverse-next":
        depth = session.stop.stage.depth
        before = [n for n in range(at) if session.run.stages.find(places[n].address).depth <= depth]
        return "rn", before[-1] if before else at
    return kind, None


def test_going_back_from_the_end_and_on_again():
    session = started()
    do(session, "continue")
    end = session.end
    do(session, "rs")
    assert (here(session), session.end) == ("logits@6", None)
    assert do(session, "continue").stop.reason == "end"
    assert session.end == end


def test_nothing_comes_before_the_beginning():
    session = started()
    for line in ("rs", "rn", "rt", "rc"):
        with pytest.raises(CommandError, match="start of the run"):
            do(session, line)
    do(session, "step 2")
    do(session, "rs 99")
    assert here(session) == "tokenize@0"


def test_back_to_the_last_breakpoint():
    session = started()
    do(session, "break 1")
    do(session, "break *.mlp@3")
    do(session, "goto 0@5")
    seen = []
    while here(session) != "tokenize@0":
        stop = do(session, "rc").stop
        seen.append((here(session), stop.reason, stop.breakpoint))
    assert seen == [
        ("1@4", "breakpoint", 1),
        ("1@3", "breakpoint", 1),
        ("1.mlp@3", "breakpoint", 2),
        ("0.mlp@3", "breakpoint", 2),
        ("1@2", "breakpoint", 1),
        ("1@1", "breakpoint", 1),
        ("1@0", "breakpoint", 1),
        ("tokenize@0", "step", None),
    ]
    assert [each.hits for each in session.breakpoints.list()] == [0, 0]


def test_a_place_that_never_ran_changes_nothing():
    session = started()
    do(session, "goto 1.mlp@3")
    with pytest.raises(CommandError, match="runs once"):
        do(session, "goto tokenize@2")
    assert here(session) == "1.mlp@3"
    do(session, "step")
    assert here(session) == "1@3"


def test_a_forward_that_failed_can_be_gone_back_from(monkeypatch):
    session = started()
    layer = session.inspector.model.model.layers[1].mlp
    real, broken = layer.forward, [False]

    def forward(*args):
        if broken[0]:
            raise RuntimeError("device-side assert")
        return real(*args)

    monkeypatch.setattr(layer, "forward", forward)
    do(session, "token 3")
    broken[0] = True
    with pytest.raises(Exception, match="device-side"):
        do(session, "token")
    do(session, "goto 0@3")
    assert here(session) == "0@3"
    broken[0] = False
    do(session, "until 1")
    assert here(session) == "1@3"


def test_the_focus_and_breakpoints_stay():
    session = started()
    do(session, "break 1")
    do(session, "focus 2")
    do(session, "token 3")
    do(session, "rt")
    assert session.focus.position == 2
    assert len(session.breakpoints.list()) == 1


def test_a_stage_that_is_run_again_and_differs_is_told():
    session = started()
    do(session, "until 1@2")
    do(session, "step 3")
    with torch.no_grad():
        session.inspector.model.model.layers[1].mlp.down_proj.weight[0, 0] += 0.5
    assert do(session, "goto 0@2").stop.differs is False
    assert do(session, "goto 1@2").stop.differs is True
    assert do(session, "goto 1@2").stop.differs is False


def test_going_back_to_a_breakpoint_passes_the_hits_that_are_ignored():
    session = started()
    do(session, "break 1.mlp")
    do(session, "break 0.mlp@3")
    do(session, "goto 1@4")
    do(session, "ignore 1 2")
    do(session, "reverse-continue")
    assert (here(session), session.breakpoints.list()[0].ignore) == ("0.mlp@3", 0)
    do(session, "reverse-continue")
    assert here(session) == "1.mlp@2"
    do(session, "ignore 1 1")
    do(session, "reverse-continue")
    assert here(session) == "1.mlp@0"


def test_of_two_breakpoints_at_a_place_the_one_that_is_not_ignored_stops():
    session = started()
    do(session, "break 1.mlp")
    do(session, "break 1.mlp@3")
    do(session, "goto 1.mlp@4")
    do(session, "ignore 1 2")
    do(session, "reverse-continue")
    assert (here(session), session.stop.breakpoint) == ("1.mlp@3", 2)
    do(session, "reverse-continue")
    assert here(session) == "1.mlp@1"
