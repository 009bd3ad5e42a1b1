"""What attention and MLP each added: as hooks of our own see it, in every kind of layer, a layer at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.additions_answer import LayerAdditions
from llmdbg.debugger.inspection.standing_questions import STANDING_QUESTIONS
from tests.sessions import do, rows_through_the_head, tiny_session, tokens_run_again

# The modules that write into the residual stream, by architecture: (attention, mlp), within a layer of `model`.
WRITERS = {
    "llama": ("self_attn", "mlp"),
    "gpt2": ("attn", "mlp"),
    "gpt_neox": ("attention", "mlp"),
    "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
}


def asked(session: Debugger) -> LayerAdditions:
    found = STANDING_QUESTIONS["additions"].ask(session.inspector)
    assert isinstance(found, LayerAdditions)
    return found


def hooked(session: Debugger, names: tuple[str, ...]) -> tuple[dict[str, Any], list[Any]]:
    """What passes through the layers and the named modules in them, at the last position; and the hooks."""
    seen: dict[str, Any] = {}
    handles = []

    def last(value: Any) -> torch.Tensor:
        tensor = value[0] if isinstance(value, tuple) else value
        return tensor.detach()[0, -1].double()

    for stage in session.debuggee.anatomy.layers():
        layer = session.debuggee.anatomy.modules[stage.address]

        def before(_module: Any, args: Any, kwargs: Any, address: str = stage.address) -> None:
            seen[f"{address} before"] = last(args or (kwargs["hidden_states"],))

        def after(_module: Any, _args: Any, output: Any, address: str = stage.address) -> None:
            seen[f"{address} after"] = last(output)

        handles += [layer.register_forward_pre_hook(before, with_kwargs=True), layer.register_forward_hook(after)]
        for name in names:

            def made(_module: Any, _args: Any, output: Any, key: str = f"{stage.address} {name}") -> None:
                seen[key] = last(output)

            handles.append(layer.get_submodule(name).register_forward_hook(made))
    return seen, handles


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("place", ["sample@0", "sample@2"])
def test_shares_and_tokens_are_those_of_plain_hooks(name: str, place: str) -> None:
    session = tiny_session(name)
    do(session, f"goto {place}")
    found = asked(session)
    lens = session.run.metrics.lens()
    assert lens is not None
    seen, handles = hooked(session, WRITERS[name])
    do(session, f"goto embed@{place[-1]}", f"goto {place}")
    for handle in handles:
        handle.remove()
    assert list(found.layers) == [stage.address for stage in session.debuggee.anatomy.layers()]
    for address, parts in found.layers.items():
        before, after = seen[f"{address} before"], seen[f"{address} after"]
        assert list(parts) == ["attention", "mlp"] or name == "gpt_neox"
        for what, writer in zip(("attention", "mlp"), WRITERS[name], strict=True):
            vector = seen[f"{address} {writer}"]
            assert parts[what].share == pytest.approx(float(vector.norm() / before.norm()), rel=1e-4)
            rows = torch.stack([after, after - vector]).float()
            chances = lens.logits(rows).softmax(-1)
            assert parts[what].text == session.inspector.vocabulary.text(int((chances[0] - chances[1]).argmax()))


def test_a_layer_that_takes_the_residual_along_is_told_apart_too() -> None:
    session = tiny_session("bloom")
    do(session, "goto sample@0")
    parts = asked(session).layers["0"]
    assert set(parts) >= {"attention", "mlp"}
    assert all(0 < each.share < 100 for each in parts.values())


def test_a_step_reads_one_layer_in_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    session = tiny_session()
    asked(session)
    sizes = rows_through_the_head(monkeypatch)
    for _ in range(3):
        do(session, "next")
        asked(session)
        asked(session)
    assert session.stop.stage.address == "1"
    assert sizes == [3, 3]
    do(session, "reverse-next")
    assert list(asked(session).layers) == ["0"]


def test_what_each_layer_would_say_needs_no_product_of_its_own_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    both, alone = tiny_session(), tiny_session()
    asked(both)
    sizes = rows_through_the_head(monkeypatch)
    for _ in range(4):
        do(both, "next")
        asked(both)
        predictions = STANDING_QUESTIONS["layers"].ask(both.inspector)
    assert both.stop.stage.address == "norm"
    assert sizes == [3, 3]
    do(alone, "goto norm")
    expected = STANDING_QUESTIONS["layers"].ask(alone.inspector)
    assert list(predictions.layers) == list(expected.layers) == ["0", "1"]
    for address, found in predictions.layers.items():
        told = expected.layers[address]
        assert (found.id, found.text) == (told.id, told.text)
        assert [each[:2] for each in found.others] == [each[:2] for each in told.others]
        assert found.prob == pytest.approx(told.prob, rel=1e-4)


def test_it_is_recorded_in_passing_and_runs_nothing_again() -> None:
    session = tiny_session(max_new_tokens=12)
    asked(session)
    runs = tokens_run_again(session)
    for line in ("next", "token", "token", "goto 1.mlp@2"):
        do(session, line)
        if not line.startswith("goto"):
            assert len(asked(session).layers) == (0 if line == "next" else 2)
    assert asked(session).layers
    assert len(runs) <= 1, "only going somewhere else runs a token"


def test_a_model_that_has_no_such_parts_says_nothing_about_them() -> None:
    session = tiny_session("mamba")
    do(session, "goto sample@0")
    found = asked(session)
    assert all(set(parts) <= {"other", "layer"} for parts in found.layers.values())


def test_scores_that_are_not_finite_name_no_token() -> None:
    session = tiny_session()
    do(session, "next", "next", "edit out * float('inf')", "next")
    found = asked(session)
    assert all(each.text is None for each in found.layers.get("1", {}).values())
