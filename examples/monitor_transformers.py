"""The gradient noise of two trainings with transformers' Trainer, with clipping and accumulation."""

import tempfile

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
)

from critbatch.integrations.transformers import NoiseScaleCallback

WORDS, LENGTH = 40, 16
draw = torch.Generator().manual_seed(0)
texts = (torch.arange(LENGTH) * 3 + torch.randint(WORDS, (512, 1), generator=draw)) % WORDS  # every third word follows

gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=WORDS, n_positions=LENGTH, n_embd=32, n_layer=1, n_head=2))
bert = BertForSequenceClassification(
    BertConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=LENGTH,
    )
)  # fmt: skip
sentences = [{"input_ids": one, "labels": one} for one in texts]
classes = [{"input_ids": one, "labels": one[0] % 2} for one in texts]

for model, data in ((gpt2, sentences), (bert, classes)):
    noise = NoiseScaleCallback(every=3)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=8, gradient_accumulation_steps=4, max_grad_norm=1.0,
            num_train_epochs=2, learning_rate=1e-3, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=data, callbacks=[noise]).train()
    print(noise.reading().sentence)
