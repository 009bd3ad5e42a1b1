"""The lens at the last layer is the model itself."""

import accelerate
import pytest
import torch
from torch import nn

from llmdbg.engine.stage_event import main_tensor
from llmdbg.errors import LensError, UsageError
from llmdbg.models.anatomy import dissect
from llmdbg.probes.lens import build_lens
from tests.tiny import ARCHITECTURES, tiny_model

# Its head is two modules, a transform and a decoder: more than the lens knows of.
WITHOUT = ("modernbert_decoder", "deepseek_v4")
WITH = tuple(name for name in ARCHITECTURES if name not in WITHOUT)
IDS = torch.arange(3, 15)[None]


def run_with(model, anatomy, ids=IDS):
    """Every layer's output (n, width), and the model's logits (n, vocabulary)."""
    kept: dict[str, torch.Tensor] = {}

    def keeping(address):
        def keep(_module, _args, output):
            tensor = main_tensor(output)
            assert tensor is not None
            kept[address] = tensor[0]

        return keep

    handles = [
        anatomy.modules[stage.address].register_forward_hook(keeping(stage.address)) for stage in anatomy.layers()
    ]
    with torch.no_grad():
        logits = model(ids).logits[0]
    for handle in handles:
        handle.remove()
    return [kept[stage.address] for stage in anatomy.layers()], logits


def prepared(name, **how):
    model = tiny_model(name, **how)
    anatomy = dissect(model)
    residuals, logits = run_with(model, anatomy)
    return model, anatomy, build_lens(model, anatomy), residuals, logits


@pytest.mark.parametrize("name", WITH)
def test_at_the_last_layer_the_lens_says_what_the_model_says(name):
    _, _, lens, residuals, logits = prepared(name)
    seen = lens.logits(residuals[-1])

    assert seen.dtype is torch.float32
    torch.testing.assert_close(seen, logits, rtol=1e-5, atol=1e-5)
    assert lens.verified_against(residuals[-1], logits)
    assert lens.verified_against(residuals[-1][-1:], logits[-1:])


@pytest.mark.parametrize("name", ["mistral", "gemma2", "mamba", "opt", "cohere", "granite", "falcon"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_too(name, dtype):
    _, _, lens, residuals, logits = prepared(name, dtype=dtype)

    assert lens.verified_against(residuals[-1], logits)
    assert lens.verified_against(residuals[-1][-1:], logits[-1:])
    assert lens.logits(residuals[-1]).dtype is torch.float32


@pytest.mark.parametrize("name", WITH)
def test_an_earlier_layer_is_not_mistaken_for_the_last(name):
    _, _, lens, residuals, logits = prepared(name)

    assert not lens.verified_against(residuals[0], logits)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_model_that_does_more_behind_its_last_layer_is_told(name):
    _, _, lens, residuals, logits = prepared(name)

    assert not lens.verified_against(residuals[-1], logits)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("gemma2", "final_logit_softcapping", 2.0),
        ("recurrent_gemma", "logits_soft_cap", 2.0),
        ("cohere", "logit_scale", 0.5),
        ("granite", "logits_scaling", 3.0),
        ("granitemoe", "logits_scaling", 3.0),
        ("falcon_h1", "lm_head_multiplier", 0.25),
    ],
)
def test_what_the_configuration_declares_is_honoured(monkeypatch, name, setting, value):
    configuration = ARCHITECTURES[name]

    def changed():
        config = configuration()
        setattr(config, setting, value)
        return config

    monkeypatch.setitem(ARCHITECTURES, name, changed)
    model, _, lens, residuals, logits = prepared(name)

    assert lens.verified_against(residuals[-1], logits)
    setattr(model.config, setting, 1.0)
    without = build_lens(model, dissect(model))
    assert not without.verified_against(residuals[-1], logits)


def test_a_scale_that_nobody_declared_is_found_out():
    _, _, lens, residuals, logits = prepared("mistral")

    assert not lens.verified_against(residuals[-1], logits * 1.01)
    assert not lens.verified_against(residuals[-1], logits[:, :-1])
    assert not lens.verified_against(residuals[-1][:, :-1], logits)
    assert not lens.verified_against(residuals[-1], torch.full_like(logits, torch.nan))


def test_opt_goes_through_its_projection():
    _, _, lens, _, _ = prepared("opt")

    assert (lens.projection.in_features, lens.projection.out_features) == (32, 16)


def test_many_positions_are_one_product_and_what_each_alone_is():
    _, _, lens, residuals, _ = prepared("llama")
    calls = []
    real = lens.head.forward
    lens.head.forward = lambda hidden: calls.append(hidden.shape) or real(hidden)
    together = lens.logits(torch.cat(residuals))

    assert calls == [(2 * IDS.shape[1], 32)]
    alone = torch.cat([lens.logits(row[None]) for residual in residuals for row in residual])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_the_final_norm_s_own_output_is_not_normed_again():
    _, anatomy, lens, residuals, _ = prepared("llama")
    with torch.no_grad():
        anatomy.modules["norm"].weight.copy_(torch.linspace(0.5, 3, 32))
        normed = lens.norm.forward(residuals[-1])

    torch.testing.assert_close(lens.logits(normed, normed=True), lens.logits(residuals[-1]))
    assert not torch.allclose(lens.logits(normed), lens.logits(residuals[-1]), atol=1e-2)


@pytest.mark.parametrize("name", ["gpt2", "opt", "gemma2"])
def test_the_debugger_s_own_hooks_do_not_see_the_lens(name):
    model, _, lens, residuals, logits = prepared(name)

    def stop(*_):
        raise AssertionError("a hook ran inside the lens")

    for module in model.modules():
        module.register_forward_pre_hook(stop)
        module.register_forward_hook(stop)

    assert lens.verified_against(residuals[-1], logits)


def test_nothing_is_kept_for_gradients():
    _, _, lens, residuals, _ = prepared("llama")
    with torch.enable_grad():
        seen = lens.logits(residuals[-1].clone().requires_grad_())

    assert not seen.requires_grad
    with torch.inference_mode():
        assert lens.logits(residuals[-1]).shape == seen.shape


def test_the_model_is_left_as_it_was():
    model, anatomy, lens, residuals, logits = prepared("gemma2")
    before = residuals[-1].clone()
    lens.logits(residuals[-1])

    assert torch.equal(residuals[-1], before)
    assert torch.equal(run_with(model, anatomy)[1], logits)


def test_which_outputs_it_can_read():
    _, _, lens, _, _ = prepared("llama")

    assert lens.reads(torch.zeros(1, 5, 32))
    assert lens.reads(torch.zeros(5, 32, dtype=torch.bfloat16))
    assert not lens.reads(torch.zeros(1, 5, 64))
    assert not lens.reads(torch.zeros(1, 5, 32, dtype=torch.int64))
    assert not lens.reads(torch.zeros(32))


@pytest.mark.parametrize(
    ("shape", "length", "found"),
    [
        ((1, 5, 32), 5, True),
        ((5, 32), 5, True),
        ((1, 1, 32), 1, True),
        ((1, 32), 1, True),
        ((3, 32), 5, False),  # an expert's share of the positions
        ((2, 5, 32), 5, False),  # two sequences
        ((1, 4, 5, 32), 5, False),  # attention heads
        ((1, 5, 64), 5, False),
    ],
)
def test_the_last_position(shape, length, found):
    _, _, lens, _, _ = prepared("llama")
    output = torch.randn(shape)
    last = lens.last_position(output, length)

    if found:
        assert torch.equal(last, output.reshape(-1, 32)[-1:])
    else:
        assert last is None


def test_a_model_without_a_head_has_no_lens():
    model = tiny_model("llama")
    anatomy = dissect(model)
    with pytest.raises(LensError, match="has no head"):
        build_lens(model.model, anatomy)
    assert issubclass(LensError, UsageError)


def test_a_head_of_several_modules_is_refused():
    model = tiny_model("llama")
    model.lm_head = nn.Sequential(model.lm_head)

    with pytest.raises(LensError, match="made of several modules"):
        build_lens(model, dissect(model))


def test_a_model_of_unknown_width_is_refused(monkeypatch):
    model = tiny_model("llama")
    anatomy = dissect(model)
    monkeypatch.setattr(type(model.config), "get_text_config", lambda self, decoder=None: object())

    with pytest.raises(LensError, match="how wide"):
        build_lens(model, anatomy)


def test_weights_that_lie_elsewhere_are_brought_in():
    model, anatomy, lens, residuals, logits = prepared("opt")
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))

    assert lens.head.weight.device.type == "meta"
    assert lens.verified_against(residuals[-1], logits)
    assert torch.equal(run_with(model, anatomy)[1], logits)


class _EightBits(nn.Linear):
    """A quantised head, as its libraries make them: a Linear whose weight is of whole numbers."""

    def __init__(self, head):
        super().__init__(head.in_features, head.out_features, bias=False)
        self.scale = head.weight.detach().abs().max() / 127
        self.weight = nn.Parameter((head.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)

    def forward(self, hidden):
        assert hidden.is_floating_point()
        return nn.functional.linear(hidden, self.weight.to(hidden.dtype) * self.scale)


def test_a_quantised_head_is_used_as_it_is():
    model = tiny_model("mistral")
    model.lm_head = _EightBits(model.lm_head)
    anatomy = dissect(model)
    residuals, logits = run_with(model, anatomy)

    assert build_lens(model, anatomy).verified_against(residuals[-1], logits)


def test_a_residual_stream_of_higher_precision_meets_the_head_in_its_own():
    _, _, lens, residuals, logits = prepared("mistral", dtype=torch.bfloat16)
    wide = residuals[-1].float()

    assert torch.allclose(lens.logits(wide), logits.float(), atol=0.1)


@pytest.mark.cuda
def test_on_several_devices(cuda):
    _, _, lens, residuals, logits = prepared("llama")
    lens.head.to(cuda)

    assert lens.logits(residuals[-1]).device.type == "cuda"
    assert lens.verified_against(residuals[-1], logits)
