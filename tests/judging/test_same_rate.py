"""One learning rate for all batch sizes, on planted runs."""

import numpy as np
import pytest

from critbatch.bed import common_bed
from critbatch.claim import Exhibit
from critbatch.claims import registry
from critbatch.judging.same_rate import SameRate, same_rate
from critbatch.judging.worlds import exhibit_from

BEST = {0: 0.25, 1: 0.25, 2: 0.5, 3: 0.25, 4: 0.25, 5: 0.25, 6: 0.25, 7: 0.25}  # by seed


def planted(keep=lambda run: True) -> Exhibit:
    """Return the common sweep where seed 2 alone prefers another rate, by a lot; batch size 4 is not read."""

    def values(arm, run, looks):
        value = 0.9 - 0.01 * run.batch_size / 2000 - 0.1 * abs(np.log2(run.learning_rate / BEST[run.seed]))
        return dict.fromkeys(("train_accuracy", "validation_accuracy", "test_accuracy"), value) | {"train_loss": 1.0}

    whole = exhibit_from(registry()["K-2"], {"main": common_bed("full").facts()}, "full", values)
    arms = {arm: tuple(run for run in plan if keep(run)) for arm, plan in whole.arms.items()}
    return Exhibit(whole.scale, whole.facts, arms, whole.evidence)


def test_every_batch_size_from_16_on_is_read_at_the_rate_that_the_other_seeds_choose():
    found = same_rate(planted())
    assert found.sizes == [16, 64, 256, 1024, 2000]
    assert found.epochs == 30
    assert found.rates.tolist() == [0.25] * 8
    assert found.chosen() == 0.25
    read = found.table(lambda track: track.values["test_accuracy"][-1])
    expected = 0.9 - 0.01 * np.array(found.sizes) / 2000
    np.testing.assert_allclose(read[0], expected, rtol=1e-12)
    np.testing.assert_allclose(read[2], expected - 0.1, rtol=1e-12)  # its own best rate is not its choice


def test_rates_that_were_not_tried_everywhere_are_not_chosen():
    found = same_rate(planted(lambda run: run.learning_rate != 0.25 or run.batch_size < 1024))
    assert found.chosen() in {0.125, 0.5}


@pytest.mark.parametrize("sizes", [(16, 256), ()])
def test_without_a_rate_in_common_nothing_is_read(sizes):
    def keep(run):
        return run.batch_size in sizes and (run.learning_rate < 0.2) == (run.batch_size == 16)

    found = same_rate(planted(keep))
    assert isinstance(found, SameRate)
    assert found.chosen() is None
    assert not np.isfinite(found.table(lambda track: 1.0)).any()
