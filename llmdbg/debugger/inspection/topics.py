"""What `info TOPIC` answers, topic by topic: frozen values that front ends write as text or JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.inspection.layer_question import layer_names
from llmdbg.debugger.inspection.values_question import tensor_names
from llmdbg.debugger.known_values import known_of
from llmdbg.display import Displayed
from llmdbg.engine.debuggee import Capability, require
from llmdbg.formatting import printable

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.models.spec import WeightDifferences
    from llmdbg.traces.records import RunHeader


@dataclass(frozen=True, slots=True, repr=False)
class ModelInfo(Displayed):
    """The model that runs."""

    name: str
    """As headers and messages name it."""
    architecture: str
    """Its class."""
    parameters: int | None
    """How many parameters it has; None of a recorded model."""
    bytes: int | None
    """What they take in memory; None of a recorded model."""
    layers: int
    """How many decoder layers it has."""
    dtype: str
    """Its dtype, without `torch.`."""
    device: str
    """Its device, as torch names it."""
    attention: str
    """The attention implementation: `sdpa`, `eager`."""
    context: int | None
    """The most positions it handles; None if there is no limit."""
    vocabulary: int | None
    """How many rows the input embedding has; None if that was not recorded."""
    sampling: str
    """How tokens are chosen, in a few words; empty if unknown."""
    notes: tuple[str, ...]
    """What the user should know about the model, a sentence each."""
    weights: WeightDifferences | None
    """How the stored weights differ from the model's configuration; None if they were not read from files."""


@dataclass(frozen=True, slots=True, repr=False)
class TokenTable(Displayed):
    """The sequence so far."""

    rows: tuple[Any, ...]
    """The prompt's tokens and the generated ones."""
    notes: tuple[str, ...]
    """What the user should know about the prompt, a sentence each."""


def model_info(inspector: Inspector) -> ModelInfo:
    """Describe the model and how it samples; of a recording, the model that ran then."""
    if (known := known_of(inspector.event)) is not None:
        return _recorded_model(inspector, known.header)
    from llmdbg.probes.statistics import dtype_name

    model, sampling = inspector.model, inspector.debuggee.sampling
    parameters = list(model.parameters())
    embeddings = model.get_input_embeddings()
    return ModelInfo(
        name=inspector.loaded.name,
        architecture=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in parameters),
        bytes=sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        layers=len(inspector.anatomy.layers()),
        dtype=dtype_name(model.dtype),
        device=str(model.device),
        attention=inspector.loaded.attn,
        context=inspector.anatomy.context_length,
        vocabulary=int(embeddings.weight.shape[0]),
        sampling="" if sampling is None else sampling.description,
        notes=(*inspector.loaded.notes, *inspector.debuggee.notes),
        weights=inspector.loaded.weights,
    )


def _recorded_model(inspector: Inspector, header: RunHeader) -> ModelInfo:
    sampling = inspector.debuggee.sampling
    versions = [f"{name} {version}" for name, version in header.versions.items()]
    about = (header.created, header.written_by, header.platform, *header.gpus, *versions)
    made = f"recorded: {', '.join(each for each in about if each)}"
    return ModelInfo(
        name=inspector.debuggee.name,
        architecture=printable(header.model_class) or "a class that was not recorded",
        parameters=None,
        bytes=None,
        layers=len(inspector.anatomy.layers()),
        dtype=printable(header.dtype) or "a dtype that was not recorded",
        device=printable(header.device) or "a device that was not recorded",
        attention=printable(header.attn) or "not recorded",
        context=inspector.anatomy.context_length,
        vocabulary=header.vocabulary_size,
        sampling="" if sampling is None else sampling.description,
        notes=(made, *inspector.debuggee.notes),
        weights=None,
    )


def _tokens(inspector: Inspector) -> TokenTable:
    require(inspector.debuggee, Capability.TOKENS)
    return TokenTable(inspector.run.tokens(), inspector.prompt.notes)


def _effect(inspector: Inspector) -> Any:
    from llmdbg.debugger.inspection.edit_effect import effect

    return effect(inspector)


def no_names(_arguments: str) -> tuple[str, ...]:
    """For a topic whose arguments name no stages."""
    return ()


@dataclass(frozen=True, slots=True)
class Topic:
    """What `info` can be asked."""

    summary: str
    """What it shows, in a few words."""
    ask: Callable[[Inspector, str], Any]
    """Answers with a frozen value, or a tuple of them; takes the inspector and the arguments after the topic's name."""
    takes: str = ""
    """The syntax of the arguments: `[LAYER] [head N]`; empty if there are none."""
    addresses: Callable[[str], tuple[str, ...]] = no_names
    """The addresses in the arguments, which must name stages."""
    tensors: Callable[[str], tuple[str, ...]] = no_names
    """The names in the arguments that must be a stage's or a parameter's. Raises CommandError for invalid arguments."""


def _simple(answer: Callable[[Inspector], Any]) -> Callable[[Inspector, str], Any]:
    return lambda inspector, _: answer(inspector)


def _candidates(inspector: Inspector) -> Any:
    return inspector.stop.candidates or "no candidates here: they begin at `logits`"


# What only some questions need is imported when one is asked.
def _lens(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import lens

    return lens.ask(inspector, arguments)


def _attribution(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import attribution

    return attribution.ask(inspector, arguments)


def _attention(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import attention

    return attention.ask(inspector, arguments)


def _kv(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import kv

    return kv.ask(inspector, arguments)


def _values(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import values

    return values.ask(inspector, arguments)


def _nonfinite(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import nonfinite

    return nonfinite.ask(inspector, arguments)


def _cost(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import cost

    return cost.ask(inspector, arguments)


def _ops(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import operations

    return operations.ask(inspector, arguments)


def _adapter(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import adapter

    return adapter.ask(inspector, arguments)


def _frames(inspector: Inspector) -> Any:
    from llmdbg.debugger.inspection import frames

    return frames.frames(inspector)


def _beams(inspector: Inspector) -> Any:
    from llmdbg.debugger.inspection.beams import beams

    return beams(inspector)


def _lanes(inspector: Inspector) -> Any:
    from llmdbg.debugger.inspection import lanes

    return lanes.lanes(inspector)


def _ranks(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import ranks

    return ranks.ask(inspector, arguments)


def _locals(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import local_values

    return local_values.ask(inspector, arguments)


def _source(inspector: Inspector, arguments: str) -> Any:
    from llmdbg.debugger.inspection import source

    return source.source(inspector, arguments)


def _named_stage(arguments: str) -> tuple[str, ...]:
    return (arguments,) if arguments else ()


def _recording(inspector: Inspector) -> str:
    tape = inspector.run.tape
    return "nothing is being recorded: `record FOLDER` begins" if tape is None else tape.describe()


TOPICS: dict[str, Topic] = {
    "tokens": Topic("the sequence so far", _simple(_tokens)),
    "stage": Topic("where the run stands", _simple(lambda inspector: inspector.stop)),
    "stats": Topic("the tensor here, in numbers", _simple(lambda inspector: inspector.stop.tensor)),
    "candidates": Topic("the likeliest next tokens", _simple(_candidates)),
    "lens": Topic("what each layer so far would predict", _lens, "[TOKEN …]"),
    "attribution": Topic("what each part adds to a token's logit", _attribution, "[TOKEN]"),
    "attention": Topic("which tokens each head reads from", _attention, "[LAYER] [head N]", layer_names),
    "kv": Topic("what the KV cache holds, layer by layer", _kv, "[LAYER]", layer_names),
    "values": Topic(
        "the values themselves", _values, "[ADDRESS][SLICE] [by magnitude | as heat]", tensors=tensor_names
    ),
    "nonfinite": Topic("where NaN or infinity comes from", _nonfinite),
    "cost": Topic("where the time and the memory go", _cost),
    "ops": Topic("a stage's operations: shapes, time, bytes, FLOPs", _ops, "[ADDRESS]", _named_stage),
    "adapter": Topic("what an adapter adds to each module", _adapter, "[ADDRESS]", _named_stage),
    "source": Topic("the source of the selected frame, or of a stage's forward", _source, "[ADDRESS]", _named_stage),
    "frames": Topic("the Python frames of the suspended forward", _simple(_frames)),
    "beams": Topic("which row of a batch each row continues, token by token, as beams do", _simple(_beams)),
    "lanes": Topic("the rows of a program's batch, each by itself", _simple(_lanes)),
    "ranks": Topic("how the values lie on the ranks, and what each holds", _ranks, "[weights | cache]"),
    "locals": Topic("the selected frame's variables, or one in full", _locals, "[NAME]"),
    "breakpoints": Topic(
        "breakpoints, tracepoints and watches", _simple(lambda inspector: inspector.run.breakpoints.list())
    ),
    "branches": Topic("the branches", _simple(lambda inspector: inspector.branching.rows())),
    "edits": Topic("the edits of this branch", _simple(lambda inspector: inspector.run.edits.list())),
    "effect": Topic("what the edits changed", _simple(_effect)),
    "record": Topic("what is being recorded", _simple(_recording)),
    "model": Topic("the model that runs", _simple(model_info)),
}
