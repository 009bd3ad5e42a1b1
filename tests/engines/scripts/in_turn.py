"""Two requests, one after the other. Run as `in_turn.py MODEL`."""

import sys

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512, max_num_seqs=1)
    asked = ["Once upon a time", "The capital of France is"]
    for each in llm.generate(asked, SamplingParams(temperature=0, max_tokens=4), use_tqdm=False):
        print(each.prompt, each.outputs[0].token_ids)
