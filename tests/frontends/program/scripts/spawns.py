"""Starts a pool of fresh processes, and calls a model in this one."""

import multiprocessing


def double(number):
    return 2 * number


if __name__ == "__main__":
    import torch
    from tiny_models import bits, llama

    model = llama()
    print(bits(model(torch.tensor([[1, 2]])).logits), flush=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2, 3]), flush=True)
    print(bits(model(torch.tensor([[1, 2]])).logits))
