"""The tokens of a request: what is noted of each, and what going back keeps."""

import torch

from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.vllm.timeline import RequestTimeline

FIRST, SECOND = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])


def timeline() -> RequestTimeline:
    return RequestTimeline(((0, GenerationSettings()), (2, GenerationSettings(greedy=True))))


def test_settings_apply_from_their_token_on():
    made = timeline()
    assert (made.settings_at(1).greedy, made.settings_at(2).greedy) == (False, True)
    assert (made.next_change(0), made.next_change(2)) == (2, None)


def test_a_token_that_comes_out_differently_is_reported_once_and_what_followed_forgotten():
    made = timeline()
    for token, (id, logits) in enumerate([(1, FIRST), (0, SECOND), (1, FIRST)]):
        made.saw(token, logits)
        made.took(token, id)
    made.saw(0, FIRST)
    made.took(0, 1)
    assert (made.differing(), made.ids) == ((), [1, 0, 1])
    made.saw(1, FIRST)
    made.took(1, 1)
    assert (made.differing(), made.differing(), made.ids) == ((1, 1), (), [1, 1])
    assert list(made.fingerprints()) == [0, 1]


def test_a_fork_shares_what_came_before():
    made = timeline()
    for token, id in enumerate((1, 0, 1)):
        made.saw(token, FIRST)
        made.took(token, id)
    other = made.fork(1)
    assert (other.ids, list(other.fingerprints()), made.ids) == ([1], [0], [1, 0, 1])


def test_it_says_from_which_token_on_scores_were_not_finite():
    made = timeline()
    for token, logits in enumerate((FIRST, torch.tensor([[1.0, torch.nan]]))):
        made.saw(token, logits)
        made.took(token, 0)
    assert made.not_finite_since() == 1
