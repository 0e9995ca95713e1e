"""A measurement by itself, from Python and from the command line."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import critbatch as cb
from critbatch.cli import app
from critbatch.measurements.distance import DistanceFromStart
from critbatch.tasks.digits import task as digits

runner = CliRunner()


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(40, 1, 6, 6, generator=draw), torch.randint(4, (40,), generator=draw)


def test_a_model_of_ones_own_is_measured_and_left_alone() -> None:
    model = Convolution()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    found = cb.measure(cb.NoiseMoments(examples=40, group=4), model, data(), batch_size=8)
    assert set(found) == set(cb.NoiseMoments().quantities)
    assert all(math.isfinite(value) for value in found.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found == cb.measure(cb.NoiseMoments(examples=40, group=4), model, data(), batch_size=8)


def test_the_way_from_the_start_is_that_from_the_model_given() -> None:
    start, model = nn.Linear(36, 4), nn.Linear(36, 4)
    flat = data()[0].flatten(1), data()[1]
    squares = sum(
        float((one - two).detach().square().sum())
        for one, two in zip(start.parameters(), model.parameters(), strict=True)
    )
    found = cb.measure(DistanceFromStart(), model, flat, start=start)
    assert found["distance_from_start"] == pytest.approx(math.sqrt(squares))
    assert cb.measure(DistanceFromStart(), model, flat) == {"distance_from_start": 0.0}


def test_batch_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="41"):
        cb.measure(cb.NoiseMoments(), Convolution(), data(), batch_size=41)


def test_the_command_measures_stored_weights(tmp_path: Path) -> None:
    model = digits().initialise(3)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    said = runner.invoke(app, ["measure", "digits", "distance", "--weights", str(tmp_path / "weights.pt"), "--json"])
    assert said.exit_code == 0, said.output
    (one,) = json.loads(said.stdout)["measured"]
    start = dict(digits().initialise(0).named_parameters())
    squares = sum(float((value - start[name]).detach().square().sum()) for name, value in model.named_parameters())
    assert one["quantity"] == "distance_from_start"
    assert one["value"] == pytest.approx(math.sqrt(squares), rel=1e-6)
    assert "distance_from_start" in runner.invoke(app, ["measure", "digits", "distance"]).stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"no weights", "no file of tensors"), ({"other": torch.zeros(2)}, "not the state")],
)
def test_files_that_do_not_fit_are_refused(content: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    found = runner.invoke(app, ["measure", "digits", "distance", "--weights", str(path)])
    assert found.exit_code == 2
    assert said in " ".join(found.output.split())
