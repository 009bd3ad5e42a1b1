"""Compares stored weights with the model that its configuration describes, before and after loading."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.errors import WeightsError
from llmdbg.formatting import counted
from llmdbg.models.checkpoints import FLOATS, WeightFiles
from llmdbg.models.weight_differences import ShapeMismatch, WeightDifferences, in_layer_order

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from llmdbg.models.spec import ModelSpec

_MOST_GROUPS = 4
# Buffers of old checkpoints are integers too, and loading leaves them out.
_QUANTIZED = re.compile(r"weight(_packed|_scale.*)?$")


def stored_differences(files: WeightFiles, config: PretrainedConfig) -> WeightDifferences:
    """What the files' headers alone show to be wrong: tensors of the index in no file, quantised ones undescribed."""
    described = getattr(config, "quantization_config", None) is not None
    quantized = () if described else (each.name for each in files.tensors if _is_quantized(each.name, each.dtype))
    return WeightDifferences(
        absent=in_layer_order(files.absent), quantized=in_layer_order(quantized), layers=_layers(config)
    )


def loaded_differences(
    model: PreTrainedModel, info: Any, files: WeightFiles, stored: WeightDifferences, dropped: Iterable[str]
) -> WeightDifferences:
    """Everything that differs, once transformers has loaded the model.

    `info` is its loading info, `stored` is what the headers show, and `dropped` are the tensors of a GGUF file that it
    left out.
    """
    missing, unexpected, mismatched = _told(info)
    unused = {*unexpected, *dropped}
    return replace(
        stored,
        missing=in_layer_order(missing),
        mismatched=mismatched,
        unused=in_layer_order(unused),
        untied=in_layer_order(_untied(model)),
        ignored=in_layer_order(_ignored(model, files) - unused),
    )


def with_adapter(differences: WeightDifferences, info: Any) -> WeightDifferences:
    """The differences of a model together with those of the adapter that was applied to it. `info` as above."""
    missing, unexpected, mismatched = _told(info)
    return replace(
        differences,
        missing=in_layer_order({*differences.missing, *missing}),
        mismatched=(*differences.mismatched, *mismatched),
        unused=in_layer_order({*differences.unused, *unexpected}),
    )


def _told(info: Any) -> tuple[set[str], set[str], tuple[ShapeMismatch, ...]]:
    """The missing, unexpected and mismatched tensors of transformers' loading info."""
    missing, unexpected, mismatched = (
        info.get(key, ()) if isinstance(info, Mapping) else getattr(info, key, ())
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
    )
    shapes = {str(name): (tuple(held), tuple(wanted)) for name, held, wanted in mismatched}
    in_order = tuple(ShapeMismatch(name, *shapes[name]) for name in in_layer_order(shapes))
    return set(missing), set(unexpected), in_order


def failed_differences(
    error: Exception, files: WeightFiles, config: PretrainedConfig, spec: ModelSpec
) -> WeightDifferences:
    """What differs where transformers has failed to load the weights with `error`.

    Tensors of another shape are found by their names, if the stored ones are floats. What is missing is known if
    transformers came as far as its report, which the error leaves behind.
    """
    info = _report_left_by(error)
    missing, unexpected, _ = _told(info)
    unconverted = set(getattr(info, "conversion_errors", ()))
    return WeightDifferences(
        missing=in_layer_order(missing - unconverted),
        mismatched=_mismatched_by_name(files, config, spec),
        unconverted=in_layer_order(unconverted),
        unused=in_layer_order(unexpected),
        layers=_layers(config),
    )


def _report_left_by(error: Exception) -> Any:
    """The loading info that transformers reports and then drops as it raises the error; empty if it came to no report.

    `tests/models/test_weights.py` fails when the function that reports it is called otherwise.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_name != "log_state_dict_report":
        return {}
    return trace.tb_frame.f_locals.get("loading_info", {})


def _mismatched_by_name(files: WeightFiles, config: PretrainedConfig, spec: ModelSpec) -> tuple[ShapeMismatch, ...]:
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            outline = AutoModelForCausalLM.from_config(config, trust_remote_code=spec.trust_remote_code)
    except Exception:  # the configuration is at fault, which is for the error that led here to say
        return ()
    shapes = {name: tuple(each.shape) for name, each in outline.state_dict().items()}
    stored = {each.name: each.shape for each in files.tensors if each.dtype in FLOATS}
    differ = in_layer_order(name for name, shape in stored.items() if shape != shapes.get(name, shape))
    return tuple(ShapeMismatch(name, stored[name], shapes[name]) for name in differ)


def refuse(
    name: str,
    differences: WeightDifferences,
    model: PreTrainedModel | None = None,
    *,
    because: Exception | None = None,
) -> None:
    """Raise WeightsError if the differences break the model, which is loaded by now if it is given.

    With `because`, the error that loading failed with, `--allow-missing` would not help.
    """
    if not differences.broken:
        return
    which = dict(differences.rows(_MOST_GROUPS))
    counts = {
        "missing": f"{counted(len(differences.missing), 'tensor')} missing",
        "mismatched": f"{counted(len(differences.mismatched), 'tensor')} of another shape",
        "unconverted": f"{counted(len(differences.unconverted), 'tensor')} not to be made of the stored ones",
        "absent": f"{counted(len(differences.absent), 'tensor')} of the index in no file",
        "quantized": f"{counted(len(differences.quantized), 'tensor')} quantised, and config.json does not say how",
        "unused": f"{counted(len(differences.unused), 'tensor')} not used",
    }
    told = "; ".join(f"{words}: {which[kind]}" for kind, words in counts.items() if kind in which)
    look = "" if because is not None else ", or look at it as it is with --allow-missing"
    message = f"the weights of {name} do not fit its configuration: {told}{_about_tying(differences, model)}. "
    raise WeightsError(f"{message}Correct the configuration or complete the weights{look}", differences) from because


def _about_tying(differences: WeightDifferences, model: PreTrainedModel | None) -> str:
    """A hint if what is missing is the head of a model whose configuration does not tie it to the embedding."""
    head = None if model is None else model.get_output_embeddings()
    if model is None or head is None or getattr(model.config, "tie_word_embeddings", False):
        return ""
    own = {name for name, each in model.named_parameters(remove_duplicate=False) if each is getattr(head, "weight", 0)}
    lost = sorted(own & set(differences.missing))
    if not lost:
        return ""
    return f" (if {lost[0]} is the embedding, as in most small models, set tie_word_embeddings to true)"


def _is_quantized(name: str, dtype: str) -> bool:
    eight_bit = dtype.startswith(("F8", "F6", "F4"))
    return eight_bit or (dtype in ("I8", "U8", "I16", "U16", "I32", "U32") and _QUANTIZED.search(name) is not None)


def _layers(config: PretrainedConfig) -> int:
    layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", 0)
    return layers if isinstance(layers, int) else 0


def _untied(model: PreTrainedModel) -> set[str]:
    """The tensors that the configuration ties, but that transformers left as they were stored.

    transformers does not report them. The names are its own, not public; `tests/models/test_weights.py` fails when
    they are gone.
    """
    wanted = model.get_expanded_tied_weights_keys(all_submodels=True)
    return set(wanted) - set(model.all_tied_weights_keys)


def _ignored(model: PreTrainedModel, files: WeightFiles) -> set[str]:
    """The stored tensors that the model's class asks transformers to leave out and not to report."""
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()
    if not patterns:
        return set()
    left_out = re.compile("|".join(f"({each})" for each in patterns))
    known = model.state_dict().keys()
    return {each.name for each in files.tensors if left_out.search(each.name) and each.name not in known}
