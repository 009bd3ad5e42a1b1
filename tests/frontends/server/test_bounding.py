"""Answers are cut to a size, and nothing of what is cut is lost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdbg.errors import UsageError
from llmdbg.frontends.sanitize import json_text
from llmdbg.frontends.server.bounding import AnswerStore
from llmdbg.frontends.server.desk import Desk
from llmdbg.frontends.server.journal import Journal
from llmdbg.frontends.server.opening import Served
from llmdbg.frontends.server.permissions import Permissions
from llmdbg.frontends.server.run_thread import RunThread
from llmdbg.frontends.server.served_run import ServedRun
from llmdbg.models.spec import ModelSpec

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
        more, of, again = store.more(entry.handle, entry.next, 600)
        assert of == entry.of
        assert size(more, again) <= 600
        if isinstance(more, list):
            found += [whole(store, each, again, f"{path}/{entry.next + n}", None) for n, each in enumerate(more)]
        elif isinstance(more, dict):
            found |= {name: whole(store, each, again, f"{path}/{escaped(name)}", None) for name, each in more.items()}
        else:
            found += more
        entry = next((each for each in again if each.handle == path), None)
    return found


def size(shown, left_out):
    """How many characters of JSON these take."""
    return len(json_text(shown)) + len(json_text([asdict(each) for each in left_out])) - 4


def warnings(events):
    return [each for each in events if isinstance(each, dict) and each.get("event") == "warning"]


def escaped(name):
    return name.replace("~", "~0").replace("/", "~1")


@given(st.lists(JSON, min_size=1, max_size=1))
@settings(max_examples=60, deadline=None)
def test_what_is_cut_can_be_fetched_whole(events):
    store = AnswerStore()
    shown, left_out = store.bounded_events(events, 600)
    assert size(shown, left_out) <= 600
    number = left_out[0].handle.split("/")[0] if left_out else "1"
    if shown != events and shown[0] in warnings(shown):
        shown = []
    assert whole(store, shown, left_out, f"{number}/events", events) == events


@given(st.lists(st.integers(), min_size=100, max_size=600), st.integers(500, 5_000))
@settings(max_examples=30, deadline=None)
def test_a_long_list_takes_no_more_than_its_room(numbers, most):
    shown, left_out = AnswerStore().bounded_events([{"event": "x", "numbers": numbers}], most)
    assert size(shown, left_out) <= most
    assert size(shown, left_out) > min(most, len(json_text(numbers))) - 150, "and uses it"


def test_the_last_event_is_always_there():
    events = [{"event": "stop", "n": number} for number in range(1_000)]
    shown, [left] = AnswerStore().bounded_events(events, 1_000)
    assert shown[-1] == events[-1] and shown[:-1] == events[: left.kept]
    assert (left.of, left.next) == (1_000, left.kept)


STOP = {
    "event": "stop",
    "stage": {"kind": "sublayer", "address": "12.mlp.experts.7.down_proj/_unsafe_view.0"},
    "shape": [1, 14, 4096],
    "path": "x" * 150,
}


def test_short_fields_stay_whole_and_long_ones_are_cut():
    event: dict[str, Any] = {
        **STOP,
        "rows": [{"shape": [2, 3], "name": f"row {n}"} for n in range(500)],
        "said": "in words " * 900,
    }
    [shown], left_out = AnswerStore().bounded_events([event], 1_500)
    assert {name: shown[name] for name in STOP} == STOP
    assert shown["rows"] and shown["rows"] == event["rows"][: len(shown["rows"])], "each row is whole"
    assert event["said"].startswith(shown["said"]) and len(shown["said"]) > 100
    assert {each.handle for each in left_out} == {"1/events/0/rows", "1/events/0/said"}


def test_where_not_even_the_short_fields_fit_a_line_says_so():
    event = {f"field {n}": f"word{n}" for n in range(90)}
    store = AnswerStore()
    [shown], [left] = store.bounded_events([{"event": "stop"}, event], 1_000)
    assert shown["event"] == "warning" and "more than `most`: raise it" in shown["message"]
    assert (left.handle, left.kept, left.of) == ("1/events", 0, 2)
    assert whole(store, [], (left,), "1/events", None) == [{"event": "stop"}, event]


def test_a_text_that_a_person_reads_is_bounded_with_its_last_line(client_desk):
    journal = Journal()
    journal.value({"event": "x"}, ["a line of words"] * 1_000)
    text = client_desk.text(journal, 2_000)
    assert 1_900 <= len(text) <= 2_000 and "call `more` with handle '1/text'" in text.splitlines()[-1]


@pytest.fixture
def client_desk():
    return Desk(RunThread(lambda: ServedRun(Served(ModelSpec("smollm2")), Permissions())))


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
