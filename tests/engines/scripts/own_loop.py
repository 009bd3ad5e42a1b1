"""Steps an engine by itself; requests come one by one, long prompts in parts. Run as `own_loop.py MODEL`."""

import sys

from vllm import EngineArgs, LLMEngine, SamplingParams

if __name__ == "__main__":
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            sys.argv[1],
            dtype="float32",
            enforce_eager=True,
            max_model_len=512,
            max_num_batched_tokens=16,
            max_num_seqs=4,
        )
    )
    waiting = [
        ("a", "Once upon a time there was a little girl who lived in a house in the woods with a cat"),
        ("b", "Hello"),
        ("c", "One two three"),
    ]
    while waiting or engine.has_unfinished_requests():
        if waiting:
            name, text = waiting.pop(0)
            engine.add_request(name, text, SamplingParams(temperature=0, max_tokens=4))
        for each in engine.step():
            if each.finished:
                print(each.request_id, each.outputs[0].token_ids)
