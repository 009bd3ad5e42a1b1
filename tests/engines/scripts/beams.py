"""Beam search over an engine. Run as `beams.py MODEL`."""

import sys

from vllm import LLM
from vllm.sampling_params import BeamSearchParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512)
    for each in llm.beam_search([{"prompt": "Once upon a time"}], BeamSearchParams(beam_width=3, max_tokens=4)):
        for one in each.sequences:
            print(one.tokens, round(one.cum_logprob, 4))
