"""An asynchronous engine, which always runs in a process of its own. Run as `asynchronous.py MODEL`."""

import asyncio
import sys

from vllm import AsyncEngineArgs, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM


async def main():
    llm = AsyncLLM.from_engine_args(
        AsyncEngineArgs(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512)
    )
    async for each in llm.generate("Once upon a time", SamplingParams(temperature=0, max_tokens=4), "one"):
        ids = each.outputs[0].token_ids
    print(ids)
    llm.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
