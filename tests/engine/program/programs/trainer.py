"""Three steps of transformers' Trainer, each of two batches whose gradients accumulate."""

import tempfile

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

torch.manual_seed(7)
model = tiny_model("llama").train()
rows = [{"input_ids": ids, "labels": ids} for ids in torch.randint(1, 128, (12, 6))]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        max_steps=3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, train_dataset=rows)
    trainer.remove_callback(PrinterCallback)  # prints how long it took
    trainer.train()
print(bits(*model.parameters()))
