"""A DataLoader with two workers feeds a model."""

import torch
from tiny_models import bits, llama
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, at):
        return torch.arange(at + 1, at + 6)


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = llama()
    for batch in DataLoader(
        Rows(), batch_size=2, num_workers=2, shuffle=True, generator=torch.Generator().manual_seed(5)
    ):
        print(batch[:, 0].tolist(), bits(model(batch).logits))
