"""asyncio: requests that wait for each other, one of them on an executor's thread."""

import asyncio

import torch
from tiny_models import bits, llama

model = llama()


async def answer(queue, name):
    ids = await queue.get()
    await asyncio.sleep(0.001)
    print(name, bits(model(ids).logits))
    return len(ids[0])


async def main():
    queue = asyncio.Queue()
    waiting = [asyncio.create_task(answer(queue, name)) for name in "ab"]
    await queue.put(torch.tensor([[1, 2, 3]]))
    await queue.put(torch.tensor([[4, 5]]))
    print(await asyncio.gather(*waiting))
    print(bits((await asyncio.to_thread(model, torch.tensor([[6]]))).logits))


asyncio.run(main())
