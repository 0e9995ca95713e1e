"""Norms of some examples stand for all: unbiased, whatever their sizes, and of every kind of layer."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from critbatch.ghost import Recorder
from critbatch.monitor import GradientNoiseMonitor

from .loops import batches, perceptron

SIZE, MOST, STEPS = 24, 6, 122


def watched(most: int | None, steps: int, sizes: Tensor | None = None) -> GradientNoiseMonitor:
    """Stand still on one batch, so that only the examples drawn differ from step to step."""
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    monitor = GradientNoiseMonitor(
        model, optimizer, every=1, most=most, unit="example", alignment=False, reduction="mean" if sizes is None else "share"
    )  # fmt: skip
    ((inputs, targets),) = batches(1, SIZE)
    for _ in range(steps):
        optimizer.zero_grad()
        losses = F.cross_entropy(model(inputs), targets, reduction="none")
        if sizes is None:
            losses.mean().backward()
        else:
            monitor.batch(sizes)
            ((losses * sizes).sum() / sizes.sum()).backward()
        optimizer.step()
    assert monitor.messages == []
    return monitor


@pytest.mark.parametrize("is_sized", [False, True])
def test_moments_are_unbiased(is_sized: bool) -> None:
    """With 120 steps the standard error is about 2 % of tr(Sigma): a bias of 10 % would be seen nearly always."""
    sizes = torch.arange(SIZE).remainder(5).double() if is_sized else None
    (truth,) = (one.moments for one in watched(None, 3, sizes).history.measured[1:])
    found = [one.moments for one in watched(MOST, STEPS, sizes).history.measured[1:]]  # the first takes all, to check
    for name in ("traces", "squared_norms"):
        values = torch.tensor([float(getattr(one, name).sum()) for one in found])
        error = float(values.std()) / len(values) ** 0.5
        assert 0 < error < 0.05 * truth.traces.sum()
        assert abs(float(values.mean()) - getattr(truth, name).sum()) < 4 * error
    assert {one.units for one in found} == {truth.units}
    assert {one.examples for one in found} == {truth.examples}


class EveryKind(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(7, 6), nn.Embedding(5, 6)
        self.shift = nn.Parameter(torch.randn(6))
        self.mixed, self.norm = nn.Conv1d(6, 6, 3, padding=1), nn.LayerNorm(6)
        self.memory, self.out = nn.GRU(6, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, words: Tensor) -> Tensor:
        seen = self.words(words) + self.places(torch.arange(5)) + self.shift
        return self.out(self.memory(self.norm(self.mixed(seen.mT).mT))[0])


def test_every_kind_of_layer_takes_the_same_examples() -> None:
    model = EveryKind().double()
    words = torch.randint(7, (8, 5), generator=torch.Generator().manual_seed(1))
    names = {id(one): name for name, one in model.named_parameters()}

    def norms(most: int | None) -> tuple[dict[str, Tensor], Tensor | None]:
        recorder = Recorder(model, names)
        recorder.arm(most=most, generator=torch.Generator().manual_seed(3))
        model(words).square().sum().backward()
        found = recorder.take()
        recorder.disarm()
        return found.plain, found.chosen

    everyone, nobody = norms(None)
    some, chosen = norms(3)
    assert nobody is None
    assert chosen is not None
    assert len(chosen.unique()) == 3
    assert set(some) == set(everyone) == set(names.values())
    for name, values in some.items():
        torch.testing.assert_close(values, everyone[name][chosen], rtol=1e-10, atol=0.0)


def test_layers_of_one_position_take_all_examples() -> None:
    model = perceptron()
    recorder = Recorder(model, {id(one): name for name, one in model.named_parameters()})
    recorder.arm(most=3)
    model(torch.randn(8, 6, dtype=torch.float64)).sum().backward()
    lengths = {name: len(one) for name, one in recorder.take().plain.items()}
    assert lengths == {"0.weight": 8, "0.bias": 8, "1.weight": 3, "1.bias": 3, "3.weight": 8, "3.bias": 8}


def test_a_single_example_is_refused() -> None:
    model = perceptron()
    with pytest.raises(ValueError, match="most=1"):
        GradientNoiseMonitor(model, torch.optim.SGD(model.parameters(), 0.1), most=1)
