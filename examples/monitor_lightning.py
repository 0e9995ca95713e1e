"""The gradient noise of a training with Lightning, with clipping and accumulation."""

from typing import Any

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from critbatch.integrations.lightning import NoiseScaleCallback


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets = batch
        return F.cross_entropy(self.layers(inputs), targets)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


digits: Any = load_digits()
data = TensorDataset(torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target))
noise = NoiseScaleCallback(every=5)
trainer = pl.Trainer(
    max_epochs=4, accumulate_grad_batches=4, gradient_clip_val=1.0, callbacks=[noise], logger=False,
    enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(data, batch_size=64, shuffle=True))

print(noise.reading().sentence)
