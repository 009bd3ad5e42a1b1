"""Two requests at once, with every probability to the bit. Run as `exact.py MODEL`."""

import sys

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512)
    asked = ["Once upon a time", "The capital of France is"]
    for each in llm.generate(asked, SamplingParams(temperature=0, max_tokens=3, logprobs=20), use_tqdm=False):
        [answer] = each.outputs
        print(answer.token_ids, [found.logprob.hex() for step in answer.logprobs for found in step.values()])
