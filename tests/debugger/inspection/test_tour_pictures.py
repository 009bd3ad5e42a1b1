"""The tour's pictures: their numbers are the model's own, by hooks of the test's, on models of many architectures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.cells import cell_len

from llmdbg.debugger.inspection.tour_page import tour_page
from llmdbg.debugger.inspection.touring import begin, go_back, go_on, tour_stops
from llmdbg.explain.tour_facts import (
    CachePicture,
    ChoicePicture,
    GrowthPicture,
    LengthsPicture,
    ProductPicture,
    ReadingPicture,
    ScoresPicture,
    SettingsPicture,
    SharingPicture,
    StripsPicture,
    TablePicture,
    TourPage,
    WindowPicture,
)
from llmdbg.explain.tour_routes import MISTRAL, MODEL
from llmdbg.explain.tour_text import page
from llmdbg.explain.tour_topics import Topic
from llmdbg.frontends.tour_drawing import as_text, drawn
from llmdbg.models.spec import LoadingFacts
from tests.sessions import do, here, tiny_session, tokens_run_again
from tests.tiny import tiny_model

ARCHITECTURES = ["llama", "gpt2", "mamba", "mixtral", "falcon", "opt", "jamba", "rwkv", "gemma3", "bloom", "olmo2"]


def pages(session, route: str = MODEL) -> dict[Topic, TourPage]:
    """Every page of a route, by topic."""
    begin(session.inspector, route)
    found = {}
    while True:
        now = tour_page(session.inspector)
        assert now.facts is not None
        found[now.facts.topic] = now
        if go_on(session.inspector) is None:
            return found


def picture(found: dict[Topic, TourPage], topic: Topic) -> Any:
    facts = found[topic].facts
    assert facts is not None
    assert facts.picture is not None, facts.not_drawn
    return facts.picture


def seen_by_hooks(model, ids) -> dict[str, tuple[Any, Any]]:
    """The input and output of every module in one forward of the test's own, at the last position."""
    seen: dict[str, tuple[Any, Any]] = {}

    def note(name):
        def hook(_module, args, kwargs, output):
            given = next((each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)), None)
            first = output[0] if isinstance(output, tuple) else output
            seen[name] = given, first

        return hook

    handles = [
        module.register_forward_hook(note(name), with_kwargs=True) for name, module in model.named_modules() if name
    ]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    for handle in handles:
        handle.remove()
    seen["logits"] = None, logits
    return seen


def test_the_numbers_are_those_of_the_model() -> None:
    session = tiny_session()
    ids = session.debuggee.prompt.ids
    found = pages(session)
    seen = seen_by_hooks(tiny_model("llama"), ids)

    table = picture(found, Topic.EMBEDDING)
    assert isinstance(table, TablePicture)
    weight = tiny_model("llama").get_input_embeddings().weight
    assert table.looked_up == ids[-1] == table.rows[-1][0]
    for id, _, numbers in table.rows:
        assert numbers == pytest.approx(weight[id].tolist())

    product = picture(found, Topic.PRODUCT)
    assert isinstance(product, ProductPicture)
    given, output = (each[0, -1] for each in seen["model.layers.0.self_attn.q_proj"])
    matrix = tiny_model("llama").model.layers[0].self_attn.q_proj.weight.detach()
    assert product.row == int(output.abs().argmax())
    assert product.computed == pytest.approx(float(output[product.row]), abs=1e-5)
    for index, x, w in product.terms:
        assert (x, w) == pytest.approx((float(given[index]), float(matrix[product.row, index])), abs=1e-6)
    assert product.total == pytest.approx(product.computed, abs=1e-4)
    left = sum(float(x) * float(w) for x, w in zip(given, matrix[product.row], strict=True))
    assert product.others == pytest.approx(left - sum(x * w for _, x, w in product.terms), abs=1e-4)

    strips = picture(found, Topic.MLP)
    assert isinstance(strips, StripsPicture)
    named = dict(strips.strips)
    mlp = seen["model.layers.0.mlp"]
    assert named["goes in"] == pytest.approx(mlp[0][0, -1].tolist(), abs=1e-5)
    assert named["comes out"] == pytest.approx(mlp[1][0, -1].tolist(), abs=1e-5)
    inner = seen["model.layers.0.mlp.down_proj"][0][0, -1]
    assert named["inside"] == pytest.approx(inner.tolist(), abs=1e-5)

    lengths = picture(found, Topic.STREAM)
    assert isinstance(lengths, LengthsPicture)
    assert lengths.adds_up
    vectors = [seen["model.layers.0"][0][0, -1], seen["model.layers.0.self_attn"][1][0, -1], mlp[1][0, -1]]
    expected = [float(each.norm()) for each in (*vectors, seen["model.layers.0"][1][0, -1])]
    assert [length for _, length in lengths.rows] == pytest.approx(expected, rel=1e-4)

    growth = picture(found, Topic.GROWTH)
    assert isinstance(growth, GrowthPicture)
    stages = ["model.embed_tokens", *(f"model.layers.{index}" for index in range(2))]
    norms = [float(seen[stage][1][0, -1].norm()) for stage in stages]
    assert [length for _, length, _, _ in growth.rows] == pytest.approx(norms, rel=1e-4)
    assert growth.rows[0][2] is None
    assert growth.rows[-1][2] == session.debuggee.vocabulary.text(int(seen["logits"][1].argmax()))

    scores = picture(found, Topic.SCORES)
    assert isinstance(scores, ScoresPicture)
    probs = torch.softmax(seen["logits"][1], dim=-1)
    best = probs.topk(len(scores.chances))
    assert [each.before for each in scores.chances] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert scores.others == pytest.approx(1 - float(best.values.sum()), abs=1e-5)

    cache = picture(found, Topic.CACHE)
    assert isinstance(cache, CachePicture)
    assert (cache.kept, cache.fed, cache.layers) == (len(ids), 1, 2)
    per_token = 2 * 2 * 2 * 8 * 4  # layers, keys and values, their heads, numbers each, bytes
    assert cache.per_token == per_token
    assert cache.bytes == per_token * len(ids)


def test_what_is_read_is_what_eager_attention_returns() -> None:
    session = tiny_session()
    reading = picture(pages(session), Topic.ATTENTION)
    assert isinstance(reading, ReadingPicture)
    model = tiny_model("llama")
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model(torch.tensor([session.debuggee.prompt.ids]), output_attentions=True).attentions[0]
    assert [each.share for each in reading.pieces] == pytest.approx(weights[0, :, -1].mean(dim=0).tolist(), abs=1e-5)


def test_the_settings_are_drawn_before_and_after() -> None:
    found = pages(tiny_session(temperature=0.5, top_k=3, seed=1))
    settings, choice = picture(found, Topic.SETTINGS), picture(found, Topic.CHOICE)
    assert isinstance(settings, SettingsPicture)
    assert isinstance(choice, ChoicePicture)
    assert not settings.supposed
    assert settings.left == 3
    kept = [each for each in settings.chances if each.after > 0]
    whole = sum(each.before**2 for each in kept)  # half the temperature squares the ratios
    assert [each.after for each in kept] == pytest.approx([each.before**2 / whole for each in kept], abs=1e-4)
    assert not choice.greedy
    assert sum(each.chosen for each in choice.chances) == 1
    supposed = picture(pages(tiny_session()), Topic.SETTINGS)
    assert supposed.supposed
    first, second, *_ = supposed.chances
    assert first.after / second.after == pytest.approx((first.before / second.before) ** 2, rel=1e-3)


def test_a_full_window_still_has_its_bytes_for_each_position() -> None:
    found = pages(tiny_session("mistral", "A text beyond the window of eight"), MISTRAL)
    window, sharing = picture(found, Topic.WINDOW), picture(found, Topic.SHARED_KEYS)
    assert isinstance(window, WindowPicture)
    assert window.window == 8
    assert isinstance(sharing, SharingPicture)
    assert (sharing.heads, sharing.shared, sharing.per_token) == (4, 2, 2 * 2 * 8 * 4)
    facts = found[Topic.STREAM].facts
    assert facts is not None
    assert facts.is_mistral
    assert all(each.note == "" for each in found.values())


@pytest.mark.parametrize("route", [MODEL, MISTRAL])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_pages_that_fit(name: str, route: str) -> None:
    session = tiny_session(name)
    before = tokens_run_again(session)
    for topic, each in pages(session, route).items():
        facts = each.facts
        assert facts is not None
        assert each.key, topic
        assert facts.picture is not None or facts.not_drawn, topic
        for width, height in ((76, 8), (100, 20)):
            lines = [] if facts.picture is None else drawn(facts.picture, width, height)
            assert all(cell_len(line) <= width for line in as_text(lines)), (topic, as_text(lines))
    assert before.count(0) <= 1, "the prompt is run again once at most: for the check of the lens or for attention"


def test_going_back_meets_every_stop_again() -> None:
    session = tiny_session()
    stops = tour_stops(session.inspector)
    pages(session)
    seen = [here(session)]
    while go_back(session.inspector) is not None:
        seen.append(here(session))
    assert seen == [f"{each.address}@{each.token}" for each in reversed(stops)]
    assert tour_page(session.inspector).number == 1


def test_the_command_goes_on_back_and_to_another_route() -> None:
    session = tiny_session("mistral")
    do(session, "tour", "tour")
    assert here(session) == "embed@0"
    do(session, "tour back")
    assert tour_page(session.inspector).title == "tokens that are not text"
    do(session, "tour mistral")
    assert tour_page(session.inspector).title == "the tokenizer cuts your text"


def test_with_another_model_the_route_says_what_differs() -> None:
    found = pages(tiny_session("llama"), MISTRAL)
    assert "not a Mistral" in found[Topic.MLP].note
    assert "14,336" in found[Topic.MLP].note
    assert "32,768" in found[Topic.PIECES].note
    assert "<s>" in found[Topic.BEGINNING].note


def test_the_move_to_a_gpu_is_told_as_measured_and_without_one_as_arithmetic() -> None:
    facts = pages(tiny_session("mistral"), MISTRAL)[Topic.DEVICE].facts
    assert facts is not None
    assert facts.model is not None
    here = page(1, 1, "", facts)
    assert here.key.startswith("This run has no GPU")
    assert "not a measurement" in here.plain[-1]
    loading = LoadingFacts(2**30, 0.5, "cuda:0")
    there = page(1, 1, "", replace(facts, model=replace(facts.model, loading=loading, device="cuda:0")))
    assert "cuda:0: 1 GiB in 0.50 s" in there.key
    assert "2 GiB a second" in there.plain[-1]


@torch.no_grad()
def test_quantised_weights_are_said_not_to_be_drawn() -> None:
    session = tiny_session()
    begin(session.inspector, MODEL)
    do(session, "goto 0.self_attn.q_proj")
    layer = session.inspector.anatomy.modules["0.self_attn.q_proj"]
    assert isinstance(layer, torch.nn.Linear)
    whole = layer.weight
    layer.weight = torch.nn.Parameter(whole.to(torch.int8), requires_grad=False)
    try:
        facts = tour_page(session.inspector).facts
    finally:
        layer.weight = whole
    assert facts is not None
    assert "another form" in facts.not_drawn


def test_the_page_of_a_choice_knows_what_the_user_did_to_it():
    session = tiny_session("llama", "The quick fox", max_new_tokens=3)
    do(session, "token")
    likeliest = [row.id for row in session.stop.candidates.rows]

    def told(line: str) -> tuple[ChoicePicture, str]:
        do(session, line)
        now = tour_page(session.inspector)
        return picture({Topic.CHOICE: now}, Topic.CHOICE), " ".join((now.key, *now.plain))

    shown, text = told(f"ban {likeliest[0]}")
    assert shown.chances[0].chosen
    assert not shown.forced
    assert shown.banned[0] not in [each.text for each in shown.chances], "its chance is nothing"
    assert "The likeliest token is taken" in text
    assert f'You banned "{shown.banned[0]}" here' in text
    shown, text = told(f"force {likeliest[3]}")
    assert shown.forced
    assert "This token was forced by you" in text
    assert "likeliest token is taken" not in text
