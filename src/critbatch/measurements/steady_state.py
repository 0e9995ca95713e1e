"""Whether SGD goes round in loops once it has settled: a long trajectory at a constant rate, beside its nulls."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import nn
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..trajectories.circulation import circulation_strength, plane_circulations, principal_coordinates
from ..trajectories.increments import low_frequency_power
from ..trajectories.nulls import EquilibriumOU, common_phase_surrogate, independent_surrogate
from ..trajectories.reversal import time_asymmetries
from ..trajectories.two_layer import TwoLayer, follow, isotropic, replaced, shuffled

WAYS = {"shuffled": shuffled, "replacement": replaced, "isotropic": isotropic}
TURN = "radians per epoch"
UNITS = {
    "steady_circulation": TURN, "steady_circulation_equilibrium": TURN, "steady_circulation_surrogate": TURN,
    "steady_turning": "1", "steady_low_frequency": "1", "steady_asymmetry": "1", "steady_asymmetry_null": "1",
    "steady_drift": "standard deviations",
}  # fmt: skip
LAG = 1
FEWEST = 400  # epochs: eight segments that show 0.05 cycles an epoch


@final
@dataclass(frozen=True)
class SteadyState(Measurement):
    """Numbers of three trajectories, one point an epoch, that train on from a model with one hidden layer of ReLU units.

    By plain SGD at the run's rate and batch size, batches "shuffled" or drawn with "replacement"; and, as a null, with all
    examples and "isotropic" Gaussian noise of equal trace. In the leading principal components of each:

    - `steady_circulation`, and the median of it in draws of an Ornstein-Uhlenbeck process in `_equilibrium` and of
      surrogates with phases of their own (`_surrogate`): `critbatch.trajectories`.
    - `steady_turning`: largest |angular velocity| over half the width of its 95% interval (moving blocks), which holds for
      all planes together: above 1 some plane surely turns.
    - `steady_low_frequency`: power of the increments below 0.05 cycles an epoch over that at all frequencies.
    - `steady_asymmetry`: largest |time-reversal asymmetry| at lag one, and `_null`, its median in surrogates with common
      phases.
    - `steady_drift`: the largest distance of the means of the two halves in a component, in its standard deviations. A
      random walk has about 1.5, a long stationary trajectory a few tenths at most.

    Only at the end of a run. NaN where a trajectory does not stay finite.

    Cost: epochs x N/B x (twice 40 us, and a pass over all examples), for 885 parameters.
    Source: Chaudhari and Soatto (2017), arXiv:1710.11029, Section 4.2, for the long run; areas and nulls are ours.

    Attributes:
        epochs: Followed, after those of the burn-in.
        burn_in: Epochs left out.
        components: Principal components, at least 2.
        draws: Of each null.
    """

    epochs: int = 10_000
    burn_in: int = 1000
    components: int = 4
    draws: int = 50

    def __post_init__(self) -> None:
        if self.epochs < FEWEST or self.burn_in < 0 or self.components < 2 or self.draws < 1:
            raise ValueError(
                f"`SteadyState(epochs={self.epochs}, burn_in={self.burn_in}, components={self.components}, "
                f"draws={self.draws})`: give at least {FEWEST} epochs, 0 of burn-in, 2 components and 1 draw."
            )

    @property
    @override
    def looks_per_decade(self) -> int:
        return 0

    @property
    @override
    def at_the_end(self) -> bool:
        return True

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        return {f"{name}[{way}]": unit for way in WAYS for name, unit in UNITS.items()}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        found = dict.fromkeys(self.quantities, math.nan)
        network, start = two_layer(snapshot)
        seeds = torch.randint(2**62, (len(WAYS),), generator=snapshot.generator).tolist()
        for (way, epoch), seed in zip(WAYS.items(), seeds, strict=True):
            drawn = np.random.default_rng(seed)
            gradients = epoch(network, snapshot.batch_size, drawn)
            with np.errstate(over="ignore", invalid="ignore"):
                trajectory = follow(
                    start, gradients, learning_rate=snapshot.learning_rate, epochs=self.burn_in + self.epochs
                )[self.burn_in :]
            if np.isfinite(trajectory).all():
                values = self._numbers(principal_coordinates(trajectory, self.components), drawn)
                found |= {f"{name}[{way}]": value for name, value in values.items()}
        return found

    def _numbers(self, coordinates: np.ndarray, generator: np.random.Generator) -> dict[str, float]:
        planes = self.components * (self.components - 1) // 2
        turns = [one.angular_velocity for one in plane_circulations(coordinates, level=1 - 0.05 / planes)]
        sure = [
            abs(one.value) / (one.high - one.value) for one in turns if one.value is not None and one.high is not None
        ]
        low = low_frequency_power(coordinates, segment=min(256, len(coordinates) // 8)).value
        middle = len(coordinates) // 2
        drift = np.abs(coordinates[:middle].mean(0) - coordinates[middle:].mean(0)) / coordinates.std(0)
        equilibrium = EquilibriumOU.fitted_to(coordinates).simulate(
            len(coordinates), draws=self.draws, generator=generator
        )
        surrogates = [independent_surrogate(coordinates, generator=generator) for _ in range(self.draws)]
        turned = [common_phase_surrogate(coordinates, generator=generator) for _ in range(self.draws)]
        values = [
            circulation_strength(coordinates), _median(equilibrium, circulation_strength),
            _median(surrogates, circulation_strength), max(sure, default=math.nan), math.nan if low is None else low,
            _asymmetry(coordinates), _median(turned, _asymmetry), float(drift.max()),
        ]  # fmt: skip
        return dict(zip(UNITS, values, strict=True))


def two_layer(snapshot: Snapshot) -> tuple[TwoLayer, np.ndarray]:
    """Return the network of a snapshot with its training set, and its parameters.

    Raises:
        ValueError: If it is another network than one with a hidden layer of ReLU units, or has another loss.
    """
    layers = list(snapshot.model) if isinstance(snapshot.model, nn.Sequential) else [snapshot.model]
    first, *others = [one for one in layers if not isinstance(one, nn.Flatten)]
    second = others[-1] if len(others) == 2 and isinstance(others[0], nn.ReLU) else None
    if not (isinstance(first, nn.Linear) and isinstance(second, nn.Linear)):
        raise ValueError(
            f"`SteadyState` follows Flatten, Linear, ReLU, Linear alone; the model is {type(snapshot.model).__name__} of "
            f"{[type(one).__name__ for one in layers]}. Give a task with one hidden layer."
        )
    inputs = snapshot.inputs.flatten(1).double().cpu()
    targets = snapshot.targets.cpu()
    network = TwoLayer(inputs.numpy(), targets.numpy(), first.out_features, second.out_features, snapshot.task.l2)
    outputs = snapshot.model.double().cpu().eval()(inputs[:8])
    ours = nn.functional.cross_entropy(outputs, targets[:8], reduction="none")
    if not torch.allclose(snapshot.task.losses(outputs, targets[:8]).double(), ours, equal_nan=True):
        raise ValueError("`SteadyState` follows cross-entropy alone; the task has another loss. Give it cross-entropy.")
    return network, _flat(snapshot.model)


def _flat(model: nn.Module) -> np.ndarray:
    return torch.cat([one.detach().double().cpu().flatten() for one in model.parameters()]).numpy()


def _asymmetry(coordinates: np.ndarray) -> float:
    return float(np.abs(time_asymmetries(coordinates, LAG)).max())


def _median(trajectories: Iterable[np.ndarray], statistic: Callable[[np.ndarray], float]) -> float:
    return float(np.median([statistic(one) for one in trajectories]))
