"""Stop strings, banned words, biases and penalties, after a prefix that stays cached. Run as `stopping.py MODEL`."""

import sys

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512, enable_prefix_caching=True)
    shared = "You are given a short text about rivers and lakes, and you answer in one word. " * 8
    how = SamplingParams(
        temperature=0,
        max_tokens=12,
        stop=[" the", "."],
        bad_words=[" a"],
        min_tokens=2,
        logit_bias={260: -1.0},
        presence_penalty=0.2,
        frequency_penalty=0.1,
    )
    with_scores = how.clone()
    with_scores.prompt_logprobs = 1
    for asked in (["What is wet?"], ["What is wet?", "What is dry?"]):
        # vLLM scores no positions of a prompt that it has cached.
        parameters = with_scores if len(asked) == 1 else how
        for each in llm.generate([shared + one for one in asked], parameters, use_tqdm=False):
            print(
                each.num_cached_tokens,
                each.outputs[0].token_ids,
                each.outputs[0].finish_reason,
                repr(each.outputs[0].stop_reason),
                len(each.prompt_logprobs or ()),
            )
