"""Answers are cut to a size, and nothing of what is cut is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdbg.errors import UsageError
from llmdbg.frontends.server.bounding import AnswerStore

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=8), inner, max_size=8),
    max_leaves=60,
)


def whole(store, shown, left_out, path, value):
    """The value that is shown at a path, with all that is left out there fetched."""
    entry = next((each for each in left_out if each.handle == path), None)
    found: Any
    if isinstance(shown, dict):
        found = {name: whole(store, each, left_out, f"{path}/{escaped(name)}", None) for name, each in shown.items()}
    elif isinstance(shown, list):
        found = [whole(store, each, left_out, f"{path}/{number}", None) for number, each in enumerate(shown)]
    else:
        found = shown
    while entry is not None:
        more, of, again = store.more(entry.handle, entry.next, 400)
        assert of == entry.of
        if isinstance(more, list):
            found += [whole(store, each, again, f"{path}/{entry.next + n}", None) for n, each in enumerate(more)]
        else:
            found += more
        entry = next((each for each in again if each.handle == path), None)
    return found


def escaped(name):
    return name.replace("~", "~0").replace("/", "~1")


@given(st.lists(JSON, min_size=1, max_size=1))
@settings(max_examples=60, deadline=None)
def test_what_is_cut_can_be_fetched_whole(events):
    store = AnswerStore()
    shown, left_out = store.bounded_events(events, 300)
    number = left_out[0].handle.split("/")[0] if left_out else "1"
    assert whole(store, shown, left_out, f"{number}/events", events) == events


@given(st.lists(st.integers(), min_size=100, max_size=600), st.integers(500, 5_000))
@settings(max_examples=30, deadline=None)
def test_a_long_list_takes_no_more_than_its_room(numbers, most):
    shown, _ = AnswerStore().bounded_events([{"event": "x", "numbers": numbers}], most)
    assert len(json.dumps(shown)) <= most


def test_the_last_event_is_always_there():
    events = [{"event": "stop", "n": number} for number in range(1_000)]
    shown, [left] = AnswerStore().bounded_events(events, 1_000)
    assert shown[-1] == events[-1] and shown[:-1] == events[: left.kept]
    assert (left.of, left.next) == (1_000, left.kept)


def test_old_answers_are_forgotten_and_say_so():
    store = AnswerStore()
    _, [left] = store.bounded_text("x" * 1_000, 500)
    assert store.more(left.handle, left.next, 10_000)[0] == "x" * 500
    for _ in range(60):
        store.bounded_text("y" * 1_000, 500)
    with pytest.raises(UsageError, match="any more"):
        store.more(left.handle, 0, 500)


@pytest.mark.parametrize("handle", ["", "1", "1/x", "1/text/0/0", "x/y", "9/text", "1/../text", "-1/text"])
def test_a_handle_that_is_none_is_one_error(handle):
    store = AnswerStore()
    store.bounded_text("x" * 1_000, 500)
    with pytest.raises(UsageError):
        store.more(handle, 2_000_000, 500)
