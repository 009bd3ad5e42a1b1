"""Speculative decoding: vLLM drafts tokens from what the prompt has. Run as `drafting.py MODEL`."""

import sys

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(
        sys.argv[1],
        dtype="float32",
        enforce_eager=True,
        max_model_len=512,
        speculative_config={
            "method": "ngram",
            "num_speculative_tokens": 3,
            "prompt_lookup_max": 3,
            "prompt_lookup_min": 1,
        },
    )
    for each in llm.generate(
        ["a b c d a b c d a b c", "one two three one two"], SamplingParams(temperature=0, max_tokens=10), use_tqdm=False
    ):
        print(each.outputs[0].token_ids)
