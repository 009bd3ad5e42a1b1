"""Talks with a system prompt, two answers each, with log probabilities. Run as `chat.py MODEL`."""

import sys

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512)
    talks = [
        [{"role": "system", "content": "Answer like a pirate."}, {"role": "user", "content": "Who are you?"}],
        [{"role": "user", "content": "Name a colour."}],
    ]
    how = SamplingParams(n=2, temperature=0.8, top_p=0.9, seed=11, max_tokens=6, logprobs=3)
    for each in llm.chat(talks, how, use_tqdm=False):
        for one in each.outputs:
            print(one.index, one.token_ids, round(one.cumulative_logprob, 4), sorted(one.logprobs[0]))
