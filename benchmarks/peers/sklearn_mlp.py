"""scikit-learn's MLPClassifier: `partial_fit` is one epoch of minibatches in a fresh order."""

import warnings

import numpy as np
from sklearn.neural_network import MLPClassifier

from ..answering import LEAST_UPDATES, Trial, UnsupportedError, answer, timed
from ..workloads import CLASSES, Workload


def prepare(workload: Workload, batch_size: int) -> Trial:
    """Return a training by `partial_fit`; an epoch longer than what is asked for is cut short.

    Raises:
        UnsupportedError: If the workload is more than a plain perceptron.
    """
    if workload.is_cnn or workload.batch_norm:
        raise UnsupportedError("has neither convolutions nor batch normalisation")
    warnings.simplefilter("ignore")
    inputs, targets = workload.inputs(), workload.targets()
    net = MLPClassifier(
        workload.widths[1:-1], solver="sgd", momentum=0.0, nesterovs_momentum=False, alpha=0.0, batch_size=batch_size,
        learning_rate_init=0.01, random_state=0,
    )  # fmt: skip
    net.partial_fit(
        inputs[: LEAST_UPDATES * batch_size], targets[: LEAST_UPDATES * batch_size], classes=np.arange(CLASSES)
    )

    def advance(updates: int) -> int:
        made = 0
        while made < updates:
            some = min(updates - made, len(inputs) // batch_size)
            net.partial_fit(inputs[: some * batch_size], targets[: some * batch_size])
            made += some
        return made

    return Trial(timed(advance))


if __name__ == "__main__":
    answer({"scikit-learn": prepare}, ("scikit-learn", "numpy"))
