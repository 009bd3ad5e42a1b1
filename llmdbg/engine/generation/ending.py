"""Why a generation ends, from the stopping criteria that are met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transformers import EosTokenCriteria, MaxLengthCriteria, MaxTimeCriteria, StopStringCriteria

from llmdbg.models.tokenizer_calls import TokenizerFailedError, ask_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase, StoppingCriteria

Ending = tuple[str, str | None]
"""`ended_by` and `ended_with` of the last event."""


def ending(met: Sequence[StoppingCriteria], input_ids: Tensor, tokenizer: PreTrainedTokenizerBase | None) -> Ending:
    """Why generation ends after `input_ids` (1, length), from the criteria that are `met`.

    What the model's own words brought about comes before a limit that is reached with the same token.
    """
    for criterion in met:
        if isinstance(criterion, EosTokenCriteria):
            return "eos", None
    for criterion in met:
        if isinstance(criterion, StopStringCriteria):
            return "stop_string", _complete(criterion, input_ids, tokenizer)
    for criterion in met:
        if not isinstance(criterion, (MaxLengthCriteria, MaxTimeCriteria)):
            return "criterion", type(criterion).__name__
    return ("length" if any(isinstance(each, MaxLengthCriteria) for each in met) else "time"), None


def _complete(
    criterion: StopStringCriteria, input_ids: Tensor, tokenizer: PreTrainedTokenizerBase | None
) -> str | None:
    """Which stop string the newest token completes; None if the decoded text does not show it."""
    strings = tuple(criterion.stop_strings)
    if len(strings) == 1 or tokenizer is None:
        return strings[0] if len(strings) == 1 else None
    # A token stands for at least one byte: no string that ends in the newest token begins earlier than this.
    longest = 1 + max(len(each.encode()) for each in strings)
    newest = input_ids[0, -longest:]
    try:
        text = ask_tokenizer(lambda: str(tokenizer.decode(newest, clean_up_tokenization_spaces=False)))
    except TokenizerFailedError:
        return None
    found = [(text.rfind(each) + len(each), len(each), each) for each in strings if each in text]
    return max(found)[2] if found else None
