"""Transforms of torch.func over a model. The argument names one; the last line has the bits of what it gives."""

import sys

import torch
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
x, rows = torch.ones(4), torch.randn(3, 4)
parameters = dict(net.named_parameters())


def summed(parameters, row):
    return functional_call(net, parameters, (row[None],)).sum()


def batched_gradients():
    given = x.clone().requires_grad_()
    return torch.autograd.grad(net(given), given, torch.eye(4), is_grads_batched=True)[0]


def language_model():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2)).eval()
    ids = torch.randint(0, 50, (3, 1, 5))
    return torch.stack([vmap(lambda row: model(row, use_cache=False).logits)(ids) for _ in range(2)])


TRANSFORMS = {
    "vmap": lambda: vmap(net)(rows),
    "jacrev": lambda: jacrev(net)(x),
    "jacobian": lambda: torch.autograd.functional.jacobian(net, x, vectorize=True),
    "batched": batched_gradients,
    "hessian": lambda: hessian(lambda each: net(each).sum())(x),
    "jvp": lambda: jvp(net, (x,), (x,))[1],
    "per_sample": lambda: torch.cat(
        [each.flatten() for each in vmap(grad(summed), in_dims=(None, 0))(parameters, rows).values()]
    ),
    "between_forwards": lambda: net(rows) + vmap(net)(rows) + net(rows),
    "language_model": language_model,
}
print([each.hex() for each in TRANSFORMS[sys.argv[1]]().flatten().tolist()])
