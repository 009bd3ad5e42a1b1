"""Branches: what could have been, beside what was."""

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmdbg.errors import CommandError, LlmdbgError, SettingsError
from llmdbg.frontends.answers import answer_lines
from tests.engine.runs import hooks_on, untouched
from tests.sessions import do, here, tiny_session


def started(name="llama", text="The quick fox", **settings):
    return tiny_session(name, text, **{"max_new_tokens": 12, **settings})


class Forced(transformers.LogitsProcessor):
    """What `force` does, in generate()'s own terms."""

    def __init__(self, at):
        self.at = at

    def __call__(self, input_ids, scores):
        if (id := self.at.get(input_ids.shape[1])) is not None:
            scores = torch.full_like(scores, -torch.inf)
            scores[:, id] = 0
        return scores


def by_generate(session, forced):
    at = {len(session.debuggee.prompt.ids) + token: id for token, id in forced.items()}
    processors = transformers.LogitsProcessorList([Forced(at)])
    return untouched(
        session.inspector.model,
        session.debuggee.prompt.ids,
        session.debuggee.settings,
        logits_processor=processors,
    ).ids


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3", "mamba", "recurrent_gemma"])
def test_back_force_go_on_switch_back(name):
    session = started(name)
    do(session, "break 1@4")
    do(session, "continue")
    assert here(session) == "1@4"
    do(session, "token 4")
    do(session, "rt 3")
    at = session.stop.token
    other = (session.stop.chosen.id + 5) % 90 + 1
    do(session, f"force {other}")
    assert session.stop.chosen.id == other and here(session) == f"sample@{at}"
    do(session, "continue")
    assert list(session.end.ids) == by_generate(session, {at: other})
    do(session, "switch main")
    assert here(session) == f"sample@{at}"
    do(session, "continue")
    assert list(session.end.ids) == by_generate(session, {})
    do(session, "switch 2")
    assert list(session.end.ids) == by_generate(session, {at: other})
    session.close()
    assert hooks_on(session.inspector.model) == 0


def test_forks_of_forks_and_the_tree():
    session = started()
    do(session, "token 3")
    do(session, "force 50")
    do(session, "token 2")
    do(session, "force 60")
    do(session, "continue")
    do(session, "switch b2")
    do(session, "branch third")
    rows = do(session, "branch").data
    assert [(row.name, row.parent, row.depth, row.fork, row.current) for row in rows] == [
        ("main", None, 0, 0, False),
        ("b2", 1, 1, 2, False),
        ("b3", 2, 2, 4, False),
        ("third", 2, 2, 4, True),
    ]
    assert rows[2].ids == tuple(session.run.branches.find("b3").timeline.ids[4:])
    assert rows[2].ids[0] == 60
    assert rows[1].why == 'force "2"'


class Allocations(TorchDispatchMode):
    """How many bytes of memory are taken while it is entered; views take none."""

    bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **kwargs or {})
        given = storages((args, kwargs))
        self.bytes += sum(size for pointer, size in storages(out).items() if pointer not in given)
        return out


def storages(values):
    tensors = [each for each in tree_leaves(values) if isinstance(each, torch.Tensor)]
    return {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}


def test_a_branch_shares_its_prefix_without_a_copy():
    session = started(text="The quick fox drinks tea and more tea", max_new_tokens=20)
    do(session, "token 12")
    do(session, "force 50")
    main = session.run.branches.find("main").timeline
    with Allocations() as made:
        forked = main.fork(10)
    assert forked.bytes > 0.5 * main.bytes > 0
    assert made.bytes < forked.bytes / 100


def test_a_ban_takes_the_next_best_and_bans_add_up():
    session = started()
    do(session, "token 4")
    first, second, third = (row.id for row in session.stop.candidates.rows[:3])
    do(session, f"ban {first}")
    assert session.stop.chosen.id == second
    do(session, f"ban {second}")
    assert session.stop.chosen.id == third


def test_other_settings_from_here_on():
    session = started()
    do(session, "token 4")
    do(session, "set temperature 2.5")
    assert "sample.temperature" in [stage.address for stage in session.run.stages.all()]
    do(session, "until sample.temperature")
    assert here(session) == "sample.temperature@4"
    do(session, "goto 1@2")
    seen = []
    while session.end is None:
        do(session, "step")
        if session.stop.stage.address == "sample.temperature":
            seen.append(session.stop.token)
    assert seen == list(range(3, 12))
    do(session, "set greedy on") if session.end is None else None


def test_settings_are_those_generate_would_take():
    session = started()
    do(session, "set max_new_tokens 3")
    do(session, "continue")
    assert len(session.end.ids) == 3
    do(session, "goto tokenize")
    do(session, "set top-k 5")
    with pytest.raises(SettingsError, match="temperature 0"):
        do(session, "set temperature 0")
    with pytest.raises(CommandError, match="already"):
        do(session, "set top_k 5")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("force 9999", "ids 0 to 127"),
        ("force ", "needs TOKEN"),
        ('force "no such thing"', "13 tokens"),
        ("set seed 3", "set knows"),
        ("set top_k many", "whole number"),
        ("set greedy perhaps", "on or off"),
        ("switch nowhere", "there are: main"),
        ("branch main", "is a branch 'main' already"),
        ("branch two words", "letters"),
    ],
)
def test_what_cannot_be_changes_nothing(line, said):
    session = started()
    do(session, "token 2")
    with pytest.raises(CommandError, match=said):
        do(session, line)
    assert here(session) == "sample@1"
    assert [each.name for each in session.run.branches] == ["main"]
    assert session.run.branches.current.name == "main"


def test_a_token_is_only_forced_where_one_is_chosen():
    session = started()
    do(session, "until 1")
    for line in ("force 3", "ban 3"):
        with pytest.raises(CommandError, match="go to one with `token`"):
            do(session, line)


def test_an_end_can_be_forced_and_taken_back():
    session = started()
    session.inspector.model.generation_config.eos_token_id = 50
    try:
        session.run.restart()
        do(session, "token 3")
        do(session, "force 50")
        assert session.end is not None and session.end.stopped_by == "eos"
        do(session, "switch main")
        assert session.end is None
    finally:
        session.inspector.model.generation_config.eos_token_id = None
        session.close()


@pytest.mark.parametrize("sampled", [False, True])
def test_a_long_walk_over_branches_ends_where_each_was(sampled):
    how = {"temperature": 1.2, "seed": 3} if sampled else {}
    session = started(**how)
    do(session, "token 8")
    for id in (40, 41, 42):
        do(session, "goto sample@3")
        do(session, f"force {id}")
        do(session, "continue")
    ends = {}
    for branch in list(session.run.branches):
        do(session, f"switch {branch.number}")
        do(session, "goto sample@3")
        do(session, "token 8")
        ends[branch.name] = session.run.generated_ids()
    for branch in reversed(list(session.run.branches)):
        do(session, f"switch {branch.name}")
        do(session, "rs 7")
        do(session, "continue") if session.end is None else None
        assert session.run.generated_ids() == ends[branch.name]
    assert session.debuggee.timeline.differing() == ()


def test_two_branches_side_by_side():
    session = started()
    do(session, "token 4")
    likeliest = session.stop.candidates.rows
    do(session, f"force {likeliest[2].id}")
    do(session, "token 2")
    found = do(session, "compare main").data
    assert (found.here, found.there, found.first) == ("b2", "main", 3)
    assert [pair.token for pair in found.tokens] == [3, 4, 5]
    assert found.tokens[0].here[0] == likeliest[2].id
    assert found.tokens[0].there[0] == likeliest[0].id
    assert found.tokens[2].there is None
    assert [each.id for each in found.candidates_here[:3]] == [row.id for row in likeliest[:3]]
    assert found.candidates_here == found.candidates_there
    assert here(session) == "sample@5"
    assert do(session, "compare main 1").data.candidates_there != found.candidates_there
    assert "the current branch" in do(session, "compare b2").data


def test_candidates_beside_each_other_are_without_their_branchs_bans():
    session = started()
    do(session, "token 4")
    likeliest = [row.id for row in session.stop.candidates.rows]
    do(session, f"ban {likeliest[0]}")
    do(session, f"ban {likeliest[1]}")
    found = do(session, "compare main").data
    assert [each.id for each in found.candidates_here[:3]] == likeliest[2:5]
    assert found.candidates_here[0].prob == pytest.approx(session.stop.chosen.prob)
    assert [each.id for each in found.candidates_there[:3]] == likeliest[:3]
    do(session, "switch main")
    other = do(session, "compare b2").data
    assert other.candidates_there == () or other.candidates_there[0].id == likeliest[1]


@pytest.mark.parametrize("back", ["goto sample@0", "goto tokenize", "reverse-token 3", "reverse-continue"])
@pytest.mark.parametrize("there", ["continue", "token 5"])
def test_going_back_keeps_the_token_that_was_chosen_last(there, back):
    session = started()
    do(session, there)
    ids = session.run.generated_ids()
    do(session, back)
    do(session, "goto sample@0")
    do(session, "force 65")
    do(session, "token 2")

    found = do(session, "compare main").data
    assert [pair.there and pair.there[0] for pair in found.tokens] == [*ids]
    [main, _] = do(session, "info branches").data
    assert main.ids == ids
    do(session, "switch main")
    do(session, f"goto sample@{len(ids) - 1}")
    assert session.run.generated_ids() == ids
    assert session.debuggee.timeline.differing() == ()


def test_names_that_are_taken():
    session = started()
    do(session, "token 2")
    do(session, "branch b3")
    do(session, "token")
    do(session, "force 65")
    assert [each.name for each in session.run.branches] == ["main", "b3", "b4"]
    with pytest.raises(CommandError, match="already"):
        do(session, "branch main")
    do(session, "token")


@pytest.mark.parametrize("line", ["set temperature nan", "set top_k 99999999999999999999"])
def test_settings_out_of_range(line):
    session = started()
    do(session, "token 2")
    with pytest.raises(SettingsError):
        do(session, line)
    assert len(list(session.run.branches)) == 1


def test_a_setting_that_fails_leaves_no_branch():
    session = started()
    do(session, "token 2")
    with pytest.raises(LlmdbgError):
        do(session, "set temperature 1e-300")
    assert [each.name for each in session.run.branches] == ["main"]
    assert here(session) == "sample@1"
    do(session, "token")


def test_deep_branches_are_drawn():
    session = started(max_new_tokens=3)
    do(session, "token")
    for _ in range(990):
        session.run.branches.fork(session.debuggee.timeline.fork(0), 0, "deep")
    assert max(depth for _, depth in session.run.branches.tree()) == 990


def test_the_newest_token_of_a_branch_is_shown():
    session = started()
    do(session, "token 2")
    do(session, "force 65")
    do(session, "switch main")
    rows = do(session, "branches").data
    assert rows[1].ids == (65,)


def test_a_banned_token_is_shown_as_cut_by_the_ban_and_the_choice_as_it_was_made():
    session = started()
    do(session, "token 2")
    first, second, *_ = session.stop.candidates.rows
    do(session, f"ban {first.id}")
    found, chosen = session.stop.candidates, session.stop.chosen

    assert (chosen.id, chosen.rank) == (second.id, 1)
    assert chosen.prob == pytest.approx(second.prob / (1 - first.prob))
    assert (found.rows[0].id, found.left, dict(found.cuts)) == (second.id, 127, {"ban": 1})
    [banned] = [row for row in (*found.rows, *found.former) if row.id == first.id]
    assert (banned.cut_by, banned.raw_rank, banned.path[0].prob) == ("ban", 1, pytest.approx(first.prob))
    assert "cut by ban" in "\n".join(answer_lines(found))


def test_not_everything_can_be_banned():
    session = started(top_k=2, temperature=1.0)
    do(session, "token 2")
    first, second = (row.id for row in session.stop.candidates.rows[:2])
    do(session, f"ban {first}")
    with pytest.raises(CommandError, match="already banned here"):
        do(session, f"ban {first}")
    with pytest.raises(CommandError, match="nothing would be left"):
        do(session, f"ban {second}")


def test_there_are_no_more_branches_than_a_session_file_holds(monkeypatch):
    monkeypatch.setattr("llmdbg.debugger.execution.branches.MOST_BRANCHES", 3)
    session = started()
    do(session, "token", "force 5", "goto sample@0", "force 6", "goto sample@0")
    with pytest.raises(CommandError, match="there are 3 branches"):
        do(session, "force 7")
    assert here(session) == "sample@0"


def test_a_comparison_has_every_token_of_both_branches_wherever_the_run_stands():
    session = started(max_new_tokens=6)
    do(session, "continue", "goto sample@2")
    do(session, f"force {(session.stop.chosen.id + 5) % 90 + 1}", "continue", "switch main")
    for place in ("goto 1@2", "goto sample@3", "continue"):
        do(session, place)
        found = do(session, "compare b2").data
        assert [pair.token for pair in found.tokens] == list(range(found.first, 6)), place
        assert all(pair.here and pair.there for pair in found.tokens), place
    lines = answer_lines(do(session, "compare b2 4").data)
    assert "candidates of token 4" in lines
