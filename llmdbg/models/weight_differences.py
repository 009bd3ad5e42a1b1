"""What of a model's weights is not as its configuration says: as values in full, and in sentences by pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmdbg.display import Displayed
from llmdbg.formatting import counted

_MOST_GROUPS = 5
_LONGEST = 100  # characters of one pattern
_NUMBER = re.compile(r"(?<![^.])[0-9]{1,9}(?![^.])")


@dataclass(frozen=True, slots=True)
class ShapeMismatch:
    """A tensor whose stored shape is not the model's."""

    name: str
    """Its name in the model."""
    stored: tuple[int, ...]
    """Its shape in the weights."""
    expected: tuple[int, ...]
    """Its shape in the model."""


@dataclass(frozen=True, slots=True, repr=False)
class WeightDifferences(Displayed):
    """Where the stored weights and the model that its configuration describes differ; every name, in layer order.

    What all but `unused`, `untied` and `ignored` names breaks the model: it is loaded only if that is allowed,
    and its missing and mismatched tensors are then whatever transformers initialises them to.
    """

    missing: tuple[str, ...] = ()
    """Tensors of the model that the weights lack, a tied head that has its source not among them."""
    mismatched: tuple[ShapeMismatch, ...] = ()
    """Tensors that are stored in another shape than the model's."""
    unconverted: tuple[str, ...] = ()
    """Tensors of the model that are made of several stored ones, of which some are missing or do not fit together."""
    absent: tuple[str, ...] = ()
    """Tensors that the index of a sharded folder lists and no file holds."""
    quantized: tuple[str, ...] = ()
    """Tensors stored as integers or 8-bit floats without a configuration that says how to decode them."""
    unused: tuple[str, ...] = ()
    """Stored tensors that the model has no place for, by their stored names."""
    untied: tuple[str, ...] = ()
    """Tensors that the configuration ties to another one, but that are stored with values of their own and use them."""
    ignored: tuple[str, ...] = ()
    """Stored tensors that the model's class leaves out on purpose: heads for speculation, buffers of old versions."""
    layers: int = 0
    """How many layers the model has, so that a pattern can say that it stands for all of them; 0 if unknown."""

    @property
    def broken(self) -> bool:
        """Whether the model that was loaded is not the one that was trained."""
        return bool(self.missing or self.mismatched or self.unconverted or self.absent or self.quantized)

    def rows(self, most: int | None = None) -> tuple[tuple[str, str], ...]:
        """What differs, kind by kind, as (what, which): `("missing", "model.layers.*.self_attn.q_proj.bias (30)")`.

        `most` limits the patterns of each kind, which are then coarser; they stand for every name all the same.
        """
        shapes = {each.name: f"{_shape(each.stored)} instead of {_shape(each.expected)}" for each in self.mismatched}
        rows = [
            ("missing", self.missing, None),
            ("mismatched", tuple(shapes), shapes),
            ("unconverted", self.unconverted, None),
            ("absent", self.absent, None),
            ("quantized", self.quantized, None),
            ("unused", self.unused, None),
            ("untied", self.untied, None),
            ("ignored", self.ignored, None),
        ]
        return tuple((kind, grouped(names, self.layers, most, about)) for kind, names, about in rows if names)

    def sentences(self) -> tuple[str, ...]:
        """What the user should know of a model that was loaded all the same, a sentence each."""
        which = dict(self.rows(_MOST_GROUPS))
        told = {
            "missing": f"{counted(len(self.missing), 'tensor')} of the model {_are(self.missing)} missing from the "
            "weights and only initialised by transformers, so what this model writes means nothing",
            "mismatched": f"{counted(len(self.mismatched), 'tensor')} of the weights {_have(self.mismatched)} another "
            "shape than the model's, so only initialised values are used and what this model writes means nothing",
            "absent": f"{counted(len(self.absent), 'tensor')} of the weights' index {_are(self.absent)} in no file",
            "quantized": f"{counted(len(self.quantized), 'tensor')} {_are(self.quantized)} stored quantised, but the "
            "configuration does not say how, so the stored numbers are used undecoded",
            "unused": f"the model does not use {counted(len(self.unused), 'tensor')} of the weights",
            "untied": "the configuration says tie_word_embeddings, but the weights hold other values, which are used",
        }
        return tuple(f"{sentence}: {which[kind]}" for kind, sentence in told.items() if kind in which)


def grouped(
    names: Iterable[str],
    layers: int = 0,
    most: int | None = None,
    about: Mapping[str, str] | None = None,
) -> str:
    """Names as patterns with counts: `model.layers.*.self_attn.q_proj.bias (30), lm_head.weight`.

    Numbers become `*` if they are those of all the `layers`, else ranges: `model.layers.30-31.mlp.* (6)`.
    With more than `most` patterns, the ends of the names are left out. `about` is what to say of a name beside the
    count.
    """
    names = list(names)
    parts = [name.split(".") for name in names]
    for kept in range(max(map(len, parts), default=1), 0, -1):
        groups: dict[str, list[str]] = {}
        for name, words in zip(names, parts, strict=True):
            start = ".".join(words[:kept]) + (".*" if len(words) > kept else "")
            groups.setdefault(_NUMBER.sub("#", start), []).append(name)
        if most is None or len(groups) <= most:
            break
    some = list(groups.items())[: most or None]
    shown = [_group(pattern, members, layers, about or {}) for pattern, members in some]
    if len(groups) > len(shown):
        left = sum(map(len, list(groups.values())[len(shown) :]))
        shown.append(f"and {counted(left, 'other')}")
    return ", ".join(shown)


def in_layer_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted with their numbers as numbers, so that layer 10 comes after layer 9."""
    return tuple(sorted(names, key=_layer_order))


def _layer_order(name: str) -> list[tuple[int, str]]:
    return [(int(word), "") if _NUMBER.fullmatch(word) else (-1, word) for word in name.split(".")]


def _group(pattern: str, members: list[str], layers: int, about: Mapping[str, str]) -> str:
    if len(members) == 1:
        return _short(members[0]) + (f" ({about[members[0]]})" if members[0] in about else "")
    length = pattern.removesuffix(".*").count(".") + 1
    found = [_NUMBER.findall(".".join(name.split(".")[:length])) for name in members]
    places = iter([{int(number) for number in numbers} for numbers in zip(*found, strict=False)])

    def written(match: re.Match[str]) -> str:
        numbers = next(places, None)
        return match[0] if numbers is None else _ranges(numbers, layers)

    text = _short(re.sub("#", written, pattern))
    said = list(dict.fromkeys(about[name] for name in members if name in about))
    more = f", {'such as ' if len(said) > 1 else ''}{said[0]}" if said else ""
    return f"{text} ({len(members)}{more})"


def _ranges(numbers: set[int], layers: int) -> str:
    """`3`, `0-29`, `1,4-7`; `*` for all layers, or if there would be more than three ranges."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    if len(runs) > 3 or (len(numbers) > 1 and runs == [[0, layers - 1]]):
        return "*"
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _shape(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes)) or "a number"


def _are(several: tuple[object, ...]) -> str:
    return "is" if len(several) == 1 else "are"


def _have(several: tuple[object, ...]) -> str:
    return "has" if len(several) == 1 else "have"
