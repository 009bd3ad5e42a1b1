"""A `Trainer` of three steps, with its progress bar and a checkpoint."""

import torch
from tiny_models import bits, llama
from transformers import Trainer, TrainingArguments

torch.manual_seed(3)
rows = [{"input_ids": each, "labels": each} for each in torch.randint(1, 128, (6, 7))]
model = llama().train()
how = TrainingArguments(
    output_dir="out", max_steps=3, per_device_train_batch_size=2, logging_steps=1, report_to=[], save_steps=3, seed=1
)
done = Trainer(model=model, args=how, train_dataset=rows).train()
print(done.global_step, done.training_loss, bits(*model.parameters()))
