"""Lightning: the same moments as a plain loop, with clipping and accumulation; the same weights without the monitor."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from . import raw

pytestmark = pytest.mark.filterwarnings("ignore")


def module(style: str) -> Any:
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = raw.perceptron()
            self.automatic_optimization = style != "manual"

        def forward(self, inputs: Any) -> Any:
            return self.net(inputs)

        def training_step(self, batch: Any, batch_index: int) -> Any:
            inputs, targets = batch["pair"] if isinstance(batch, dict) else batch
            loss = F.cross_entropy(self(inputs) if style == "forward" else self.net(inputs), targets)
            if style == "manual":
                self.by_hand(loss, batch_index)
                return None
            return {"loss": loss} if style == "mapping" else loss

        def by_hand(self, loss: Any, place: int) -> None:
            self.manual_backward(loss / raw.ACCUMULATED)
            if (place + 1) % raw.ACCUMULATED == 0 or place + 1 == raw.COUNT // raw.SIZE:
                optimizer = self.optimizers()
                self.clip_gradients(optimizer, raw.CLIP, "norm")
                optimizer.step()
                optimizer.zero_grad()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), raw.RATE)

    return Module()


def fit(
    folder: Path, accumulated: int, *, style: str = "layers", watched: bool = True, logger: Any = False, **options: Any
) -> tuple[Any, torch.Tensor]:
    import lightning.pytorch as pl

    from critbatch.integrations.lightning import NoiseScaleCallback

    noise, model = NoiseScaleCallback(every=1, **options), module(style)
    automatic = {} if style == "manual" else {"accumulate_grad_batches": accumulated, "gradient_clip_val": raw.CLIP}
    trainer = pl.Trainer(
        max_epochs=raw.EPOCHS, accelerator="cpu", logger=logger, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[noise] if watched else [], default_root_dir=folder, log_every_n_steps=1,
        **automatic,
    )  # fmt: skip
    trainer.fit(model, DataLoader(TensorDataset(*raw.data()), batch_size=raw.SIZE))
    assert "training_step" not in model.__dict__
    return noise, raw.flat(model)


@pytest.mark.parametrize("style", ["layers", "forward", "mapping"])
@pytest.mark.parametrize(("accumulated", "unit", "each"), [(4, "auto", False), (4, "example", True), (1, "auto", True)])
def test_moments_are_those_of_the_plain_loop(
    style: str, accumulated: int, unit: str, each: bool, tmp_path: Path
) -> None:
    raw.needs("lightning")
    some = raw.windows(accumulated=accumulated)
    seen = raw.train(some, accumulated)
    noise, after = fit(tmp_path, accumulated, style=style, unit=unit)
    assert torch.equal(after, seen[-1])
    raw.assert_same_moments(noise.monitor, seen, some, each)
    raw.assert_same_alignment(noise.monitor, seen, some)
    assert noise.reading().measured == len(some) - 1


def test_manual_optimization(tmp_path: Path) -> None:
    raw.needs("lightning")
    some = raw.windows()
    seen = raw.train(some, raw.ACCUMULATED)
    noise, after = fit(tmp_path, raw.ACCUMULATED, style="manual", reduction="mean_over_steps")
    assert torch.equal(after, seen[-1])
    full = [one for one in noise.monitor.history.measured if len(some[one.step]) == raw.ACCUMULATED]
    noise.monitor.history.measured = full  # of the short step only the user knows that it is divided by four
    assert len(full) == 3
    assert noise.monitor.messages == []


@pytest.mark.parametrize("accumulated", [1, 4])
def test_weights_are_the_same_bit_for_bit(accumulated: int, tmp_path: Path) -> None:
    raw.needs("lightning")
    assert torch.equal(fit(tmp_path, accumulated)[1], fit(tmp_path, accumulated, watched=False)[1])


def test_numbers_reach_the_loggers(tmp_path: Path) -> None:
    raw.needs("lightning")
    from lightning.pytorch.loggers import CSVLogger

    fit(tmp_path, 1, logger=CSVLogger(tmp_path, name="log", version=0))
    lines = (tmp_path / "log" / "version_0" / "metrics.csv").read_text().splitlines()
    assert "noise/trace" in lines[0]
    assert len(lines) > 10


def test_a_reading_before_training_is_refused() -> None:
    raw.needs("lightning")
    from critbatch.integrations.lightning import NoiseScaleCallback

    with pytest.raises(RuntimeError, match=r"Trainer\.fit"):
        NoiseScaleCallback().reading()
