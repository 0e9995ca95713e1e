"""How much of the gradient noise's covariance is left after more training."""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from ..derivatives import per_example_gradients
from ..measurement import Measurement, Snapshot
from ..noise import covariance_spectrum, leading_directions, spectral_distance, subspace_overlap

BRANCHES = 2


@final
@dataclass(frozen=True)
class NoisePersistence(Measurement):
    """The covariance D of per-example gradients at a look, compared with that after further epochs.

    The model trains on in two copies by plain SGD at the run's rate and batch size, without momentum; the copies differ in
    the order of examples alone. All three D are of the same examples, in evaluation mode and double precision.

    - `noise_overlap[later]`: `critbatch.noise.subspace_overlap` of the leading directions now and later, mean of the two
      copies; `noise_overlap[copies]`: of the two copies, later. The second is what chance in the order leaves.
    - `noise_distance[later]`, `noise_distance[copies]`: Kolmogorov-Smirnov distance of the spectra over their traces, the
      same two ways.
    - `noise_overlap_null`: k/d, of directions that do not know each other.
    - `noise_trace_ratio`: tr D later over now.

    Nothing is estimated but from `examples` of the training set: with all of them the numbers are exact. NaN where the
    gradients are not finite, or vary in fewer than `directions` directions.

    Cost: twice `epochs` of training by the framework's own loop, and three times that of `NoiseCovariance`.
    Source: Chaudhari and Soatto (2017), arXiv:1710.11029, Section 5.1, compare the spectra by eye; the rest is ours.

    Attributes:
        epochs: Further ones; 0 compares a covariance with itself.
        directions: k, at least 1.
        examples: At most so many.
    """

    epochs: int = 60
    directions: int = 10
    examples: int = 2000

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.directions < 1 or self.examples <= self.directions:
            raise ValueError(
                f"`NoisePersistence(epochs={self.epochs}, directions={self.directions}, examples={self.examples})`: give "
                "0 epochs or more, 1 direction or more, and more examples than directions."
            )

    @property
    @override
    def looks_per_decade(self) -> int:
        return 1

    @property
    @override
    def at_the_end(self) -> bool:
        return True

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        pairs = ("later", "copies")
        return {f"noise_overlap[{one}]": "share" for one in pairs} | {f"noise_distance[{one}]": "share" for one in pairs} | {
            "noise_overlap_null": "share", "noise_trace_ratio": "1",
        }  # fmt: skip

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        found = dict.fromkeys(self.quantities, math.nan)
        start = {name: value.clone() for name, value in snapshot.model.state_dict().items()}
        looked = [self._look(snapshot)]
        for _ in range(BRANCHES):
            snapshot.model.load_state_dict(start)
            _train_on(snapshot, self.epochs)
            looked.append(self._look(snapshot))
        kept = [one for one in looked if one is not None]
        if len(kept) < len(looked):
            return found
        spectra, directions = zip(*kept, strict=True)
        shapes = [one / one.sum() for one in spectra]
        overlaps, distances = (
            [compare(some[first], some[second]) for first, second in ((0, 1), (0, 2), (1, 2))]
            for compare, some in ((subspace_overlap, directions), (spectral_distance, shapes))
        )
        traces = [float(one.sum()) for one in spectra]
        values = [
            *(part for one in (overlaps, distances) for part in ((one[0] + one[1]) / 2, one[2])),
            self.directions / len(directions[0]), (traces[1] + traces[2]) / 2 / traces[0],
        ]  # fmt: skip
        return dict(zip(self.quantities, values, strict=True))

    def _look(self, snapshot: Snapshot) -> tuple[Tensor, Tensor] | None:
        """Return the spectrum and the leading directions; None where there are not so many, or gradients not finite."""
        model = copy.deepcopy(snapshot.model).double().eval()
        inputs, targets = (
            part.double() if part.is_floating_point() else part
            for part in (snapshot.inputs[: self.examples], snapshot.targets[: self.examples])
        )
        gradients = per_example_gradients(model, snapshot.task.losses, inputs, targets)
        try:
            return covariance_spectrum(gradients), leading_directions(gradients, self.directions)[1]
        except ValueError:
            return None


def _train_on(snapshot: Snapshot, epochs: int) -> None:
    """Train a snapshot's model in place by plain SGD; a last batch that is not whole is left out."""
    model, task = snapshot.model, snapshot.task
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=snapshot.learning_rate, weight_decay=task.l2)
    for _ in range(epochs):
        for chosen in _batches(snapshot):
            optimizer.zero_grad()
            task.losses(model(snapshot.inputs[chosen]), snapshot.targets[chosen]).mean().backward()
            optimizer.step()


def _batches(snapshot: Snapshot) -> Iterator[Tensor]:
    order = torch.randperm(len(snapshot.inputs), generator=snapshot.generator).to(snapshot.inputs.device)
    size = min(snapshot.batch_size, len(order))
    return (order[first : first + size] for first in range(0, len(order) - size + 1, size))
