"""The stacked engine against the plain loop, and what one replica may not do to another."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.data import Examples, Stream
from critbatch.engine.draws import Substituted
from critbatch.engine.fixed_memory import Pool
from critbatch.engine.native.values import Unsupported
from critbatch.engine.replicas import Block
from critbatch.engine.sequential import batches, gradient
from critbatch.engine.stacked import StackedReplicas
from critbatch.engine.step import step_of
from critbatch.optimizers.adam import Adam
from critbatch.optimizers.adamw import AdamW
from critbatch.optimizers.sgd import SGD
from critbatch.randomness import generator, seed_of
from critbatch.task import Task
from tests.problems import MODELS, blob_task, blobs, run_of

CPU, DTYPE = torch.device("cpu"), torch.float64
EQUAL = 1e-10  # of two orders of summation, after 100 steps in float64
MOMENTUM = SGD(momentum=0.9)
RATES = (0.02, 0.05)  # steps that overshoot would amplify rounding


class Tokens(nn.Module):
    """Embedding and attention over the signs of the four inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, inputs):
        tokens = (inputs > 0.5).long() + 2 * torch.arange(4)
        return self.last(self.attention(self.embedding(tokens)).mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LSTM(2, 5, num_layers=2, dropout=0.2, batch_first=True)
        self.last = nn.Linear(5, 3)

    def forward(self, inputs):
        return self.last(self.layers(inputs.unflatten(1, (2, 2)))[0][:, -1])


class Noisy(nn.Module):
    """Draws in three ways."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, inputs):
        hidden = self.first(inputs)
        hidden = hidden + 0.1 * torch.randn_like(hidden) + 0.1 * torch.rand(8, dtype=hidden.dtype)
        return self.last(hidden * torch.empty_like(hidden).uniform_(0.5, 1.5))


class Frozen(nn.Module):
    """Has random features that are not trained and differ from seed to seed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8).requires_grad_(False), nn.Linear(8, 3)

    def forward(self, inputs):
        return self.last(self.first(inputs).tanh())


class Deciding(nn.Module):
    def __init__(self, early=True) -> None:
        super().__init__()
        self.last, self.early = nn.Linear(4, 3), early

    def forward(self, inputs):
        outputs = self.last(inputs)
        return outputs if self.training > self.early or outputs.sum() > 0 else -outputs


def deciding_late():
    """Decide in evaluation mode only."""
    return Deciding(early=False)


def layer_norm():
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))


def image():
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 3, padding=1), nn.Dropout2d(0.2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3, 3),
    )  # fmt: skip


EVERY = MODELS | {
    "layer_norm": layer_norm, "cnn": image, "attention": Tokens, "lstm": Recurrent, "noisy": Noisy, "frozen": Frozen,
}  # fmt: skip
TASKS = {name: blob_task(model) for name, model in EVERY.items()}


class Plain:
    """What the plain loop does: the losses of `steps` steps and the module after them."""

    def __init__(self, task, run, steps):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(run.seed, "forward"))
            self.model = task.initialise(run.seed).to(DTYPE).train()
            optimizer = run.optimizer.build(self.model.parameters(), run.learning_rate)
            self.losses = []
            for _, batch in zip(range(steps), batches(task, run, CPU, DTYPE), strict=False):
                self.losses.append(gradient(task, self.model, optimizer, batch, len(batch)))
                if run.optimizer.clip_norm:
                    nn.utils.clip_grad_norm_(self.model.parameters(), run.optimizer.clip_norm)
                optimizer.step()


class Cohort:
    """Runs of one task that are trained together."""

    def __init__(self, task, rates=RATES, seeds=(0, 1), optimizer=MOMENTUM, **options):
        self.task, self.optimizer = task, optimizer
        self.runs = [
            run_of(task, learning_rate=rate, seed=seed, optimizer=optimizer) for seed in seeds for rate in rates
        ]
        models = [task.initialise(run.seed).to(DTYPE).train() for run in self.runs]
        step = step_of(task, optimizer, DTYPE)
        self.replicas = StackedReplicas(step, models, [run.seed for run in self.runs], CPU, DTYPE, **options)
        self.fixed = task.train.to(CPU, DTYPE) if isinstance(task.train, Examples) else None

    def block(self, active, epoch, start=0, end=None):
        data, index = {}, {}
        for seed in {self.runs[replica].seed for replica in active}:
            data[seed] = self.fixed or self.task.train.epoch(seed, epoch).to(CPU, DTYPE)
            orders = {"order": generator(seed, "order", epoch), "base": generator(seed, "order base")}
            order = list(self.runs[0].sampling.epoch(len(data[seed]), self.runs[0].batch_size, **orders))
            index[seed] = torch.stack(order[start:end])
        rates = np.array([[self.runs[replica].learning_rate] for replica in active])
        steps = np.arange(1, len(order) + 1)[None, start:end] + epoch * len(order)
        each = np.broadcast_arrays(*self.optimizer.coefficients(rates, steps), rates + 0 * steps)[:-1]
        return Block(data, index, np.stack(each, -1))

    def epochs(self, active, numbers):
        """Train and return the losses of each active replica."""
        parts = [self.replicas.advance(active, self.block(active, epoch)) for epoch in numbers]
        return [torch.cat(one) for one in zip(*parts, strict=True)]

    def numbers(self, replica):
        return {name: one.clone() for name, one in self.replicas.module(replica).state_dict().items()}


def furthest(first, second):
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def assert_equals_plain(cohort, epochs=9):
    every = range(len(cohort.runs))
    losses = cohort.epochs(every, range(epochs))
    for replica in every:
        plain = Plain(cohort.task, cohort.runs[replica], len(losses[replica]))
        assert len(losses[replica]) == 12 * epochs
        assert (losses[replica] - torch.tensor(plain.losses, dtype=DTYPE)).abs().max() <= EQUAL
        assert furthest(plain.model.state_dict(), cohort.numbers(replica)) <= EQUAL


@pytest.mark.parametrize("name", EVERY)
def test_every_model_equals_the_plain_loop_after_108_steps(name):
    assert_equals_plain(Cohort(TASKS[name]))


OPTIMIZERS = [
    SGD(), SGD(0.9, nesterov=True), SGD(0.5, weight_decay=0.01), SGD(0.9, clip_norm=0.5), Adam(), Adam(weight_decay=0.01),
    AdamW(),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_every_optimizer_equals_the_plain_loop_after_108_steps(optimizer):
    rates = RATES if isinstance(optimizer, SGD) else (0.005, 0.01)
    assert_equals_plain(Cohort(TASKS["mlp"], rates, optimizer=optimizer))


def test_an_l2_penalty_equals_the_plain_loop():
    assert_equals_plain(Cohort(blob_task(l2=0.01)), epochs=2)


def test_another_learning_rate_would_be_seen():
    cohort = Cohort(TASKS["mlp"], rates=(0.1, 0.1 + 1e-6))
    losses = cohort.epochs(range(4), range(9))
    plain = Plain(cohort.task, cohort.runs[0], 108)
    assert (losses[1] - torch.tensor(plain.losses, dtype=DTYPE)).abs().max() > EQUAL


@pytest.mark.parametrize("name", EVERY)
def test_steps_in_fixed_memory_equal_direct_ones(name):
    direct, fixed = (Cohort(TASKS[name], use_graphs=choice) for choice in (False, True))
    pairs = zip(*(cohort.epochs(range(4), range(2)) for cohort in (direct, fixed)), strict=True)
    assert all((one - other).abs().max() <= 1e-12 for one, other in pairs)
    assert all(furthest(direct.numbers(one), fixed.numbers(one)) <= 1e-12 for one in range(4))
    assert not fixed.replicas.note


def test_more_steps_than_a_span_holds_equal_as_many_short_blocks(monkeypatch):
    long = Cohort(TASKS["dropout"], use_graphs=True).epochs(range(4), range(2))
    monkeypatch.setattr("critbatch.engine.stacked.LONGEST_SPAN", 5)
    short = Cohort(TASKS["dropout"], use_graphs=True).epochs(range(4), range(2))
    assert all(torch.equal(one, other) for one, other in zip(long, short, strict=True))


@pytest.mark.parametrize("use_graphs", [False, True])
def test_batch_sizes_may_change(use_graphs):
    cohort = Cohort(TASKS["dropout"], use_graphs=use_graphs)
    whole = cohort.block(range(4), 0)
    for start, end, size in ((0, 3, 8), (3, 6, 5), (6, 9, 8)):
        index = {seed: one[start:end, :size] for seed, one in whole.index.items()}
        losses = cohort.replicas.advance(range(4), Block(whole.data, index, whole.coefficients[:, start:end]))
        assert all(len(one) == 3 and one.isfinite().all() for one in losses)
    run = cohort.runs[3]
    model = cohort.task.initialise(run.seed).to(DTYPE).train()
    optimizer = run.optimizer.build(model.parameters(), run.learning_rate)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(run.seed, "forward"))
        for step, size in enumerate([8, 8, 8, 5, 5, 5, 8, 8, 8]):
            chosen = whole.index[run.seed][step, :size]
            batch = Examples(cohort.fixed.inputs[chosen], cohort.fixed.targets[chosen])
            loss = gradient(cohort.task, model, optimizer, batch, size)
            optimizer.step()
    assert abs(loss - float(losses[3][-1])) <= EQUAL


def test_a_replica_that_diverges_leaves_the_others_bitwise_unchanged():
    calm, wild = (
        Cohort(TASKS["batch_norm"], (0.1, 0.2, 0.3), (0,)),
        Cohort(TASKS["batch_norm"], (0.1, 1e200, 0.3), (0,)),
    )
    expected, losses = calm.epochs(range(3), range(2)), wild.epochs(range(3), range(2))
    for replica in (0, 2):
        assert torch.equal(expected[replica], losses[replica])
        assert same(calm.numbers(replica), wild.numbers(replica))


def test_the_losses_of_a_replica_end_with_the_first_that_is_not_finite():
    cohort = Cohort(TASKS["mlp"], (0.1, 1e308), (0,))
    calm, wild = cohort.replicas.advance([0, 1], cohort.block([0, 1], 0))
    plain = Plain(cohort.task, cohort.runs[1], 12).losses
    assert len(calm) == 12
    assert len(wild) == 1 + [math.isfinite(one) for one in plain].index(False) < 12
    assert wild[:-1].isfinite().all()
    assert not wild[-1].isfinite()


@pytest.mark.parametrize("use_graphs", [False, True])
def test_dropping_rows_keeps_the_numbers_of_all(use_graphs):
    cohort = Cohort(TASKS["dropout"], (0.1, 0.2, 0.3, 0.4), (0, 1), use_graphs=use_graphs)
    lasting = {epoch: [one for one in range(8) if one < last] for epoch, last in enumerate((8, 7, 5, 3, 1))}
    seen, ended = {replica: [] for replica in range(8)}, {}
    for epoch, active in lasting.items():
        for replica, losses in zip(active, cohort.replicas.advance(active, cohort.block(active, epoch)), strict=True):
            seen[replica].append(losses)
        for replica in active:
            if replica not in lasting.get(epoch + 1, []):
                ended[replica] = cohort.numbers(replica)
    for replica, parts in seen.items():
        plain = Plain(cohort.task, cohort.runs[replica], 12 * len(parts))
        assert (torch.cat(parts) - torch.tensor(plain.losses, dtype=DTYPE)).abs().max() <= EQUAL
        assert same(ended[replica], cohort.numbers(replica))
        assert furthest(plain.model.state_dict(), cohort.numbers(replica)) <= EQUAL


def test_a_replica_may_rest_and_go_on():
    cohort = Cohort(TASKS["dropout"])
    for epoch in range(2):
        cohort.replicas.advance([0, 2, 3], cohort.block([0, 2, 3], epoch))
    for epoch in range(2):
        cohort.replicas.advance([1], cohort.block([1], epoch))
    cohort.replicas.advance([1, 3], cohort.block([1, 3], 2))
    for replica, epochs in ((0, 2), (1, 3), (2, 2), (3, 3)):
        plain = Plain(cohort.task, cohort.runs[replica], 12 * epochs)
        assert furthest(plain.model.state_dict(), cohort.numbers(replica)) <= EQUAL


def test_training_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    Cohort(TASKS["dropout"]).epochs(range(4), range(1))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("use_graphs", [False, True])
def test_streams_give_every_seed_its_own_data(use_graphs):
    def draw(stream, count):
        return blobs(count, int(torch.randint(2**31, (), generator=stream)))

    task = Task(name="stream", model=MODELS["mlp"], train=Stream(draw, 96), test=blobs(300, 1))
    assert_equals_plain(Cohort(task, use_graphs=use_graphs), epochs=3)


def test_data_that_are_replaced_stay_where_they_were_in_memory():
    pool = Pool()
    sets = [Examples(torch.full((4, 2), float(one)), torch.full((4,), one)) for one in range(6)]
    assert pool.hold([sets[0], sets[0]]) == ([0, 0], True)
    assert pool.whole is sets[0]
    assert pool.hold([sets[1], sets[2], sets[1]]) == ([0, 4, 0], True)
    place = pool.whole.inputs.data_ptr()
    assert pool.hold([sets[3], sets[4], sets[3]]) == ([0, 4, 0], False)
    assert pool.hold([sets[3], sets[4], sets[3]]) == ([0, 4, 0], False)
    assert pool.whole.inputs.data_ptr() == place
    assert pool.whole.targets.tolist() == [3] * 4 + [4] * 4
    assert pool.hold([sets[5]]) == ([0], True)
    assert sets[0].targets.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Deciding, "its step cannot be vectorised.*control flow"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.RReLU()), "draws random numbers with aten.rrelu_with_noise"),
    ],
)
def test_a_model_that_cannot_be_vectorised_says_so(model, sentence):
    with pytest.raises(Unsupported, match=sentence):
        Cohort(blob_task(model))


def test_random_numbers_of_another_shape_or_count_are_refused():
    given = torch.ones(2, 3)
    for shape, noise in (((2, 4), [given]), ((2, 3), [])):
        with pytest.raises(Unsupported, match="stacked"), Substituted(noise):
            torch.rand(shape)


def test_the_fused_dropout_of_cuda_is_given_its_mask():
    values, kept = torch.randn(2, 3, generator=generator(0, "values")), torch.tensor([[1.0, 0, 1], [0, 1, 1]])
    with Substituted([kept]):
        dropped, mask = torch.native_dropout(values, 0.25, True)
    assert torch.equal(mask, kept.bool())
    assert torch.allclose(dropped, values * kept / 0.75)


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"lstm", "noisy"}))
def test_evaluating_all_replicas_at_once_equals_asking_each_module(name):
    cohort = Cohort(TASKS[name], looks_together=True)
    part = cohort.task.test.to(CPU, DTYPE)
    for epoch in range(2):
        active = range(4) if epoch == 0 else range(3)
        cohort.replicas.advance(active, cohort.block(active, epoch))
        for replica in active:
            loss, metric = cohort.replicas.means(replica, part)
            with torch.no_grad():
                outputs = cohort.replicas.module(replica).eval()(part.inputs)
            assert abs(loss - float(cohort.task.losses(outputs, part.targets).mean())) <= 1e-12
            assert abs(metric - float(cohort.task.metric.values(outputs, part.targets).mean())) <= 1e-12
    assert cohort.replicas.means(3, part) is None
    assert not cohort.replicas.note


@pytest.mark.parametrize("model", [deciding_late, Recurrent, Noisy])
def test_an_evaluation_that_cannot_be_vectorised_is_left_to_the_module(model):
    cohort = Cohort(blob_task(model), looks_together=True)
    assert Cohort(cohort.task).replicas.means(0, cohort.fixed) is None  # not asked for
    assert cohort.replicas.means(0, cohort.fixed) is None
    assert "evaluation cannot be vectorised" in cohort.replicas.note


def test_slots_that_hold_the_old_parameters_survive_steps_in_place():
    class Remembering(SGD.__bases__[0]):
        clip_norm = None
        first_learning_rate = 0.1
        slots = 1

        def build(self, parameters, learning_rate):
            return torch.optim.SGD(parameters, learning_rate)

        def coefficients(self, learning_rate, step):
            return (learning_rate,)

        def update(self, parameter, gradient, slots, coefficients):
            return parameter - coefficients[0] * (gradient + 0.1 * (parameter - slots[0])), [parameter]

    task, numbers = TASKS["mlp"], []
    for use_graphs in (False, True):
        models = [task.initialise(seed).to(DTYPE).train() for seed in range(2)]
        step = step_of(task, Remembering(), DTYPE)
        replicas = StackedReplicas(step, models, [0, 1], CPU, DTYPE, use_graphs=use_graphs)
        block = Cohort(task, (0.1,)).block([0, 1], 0)
        replicas.advance([0, 1], block)
        numbers.append({name: one.clone() for name, one in replicas.module(1).state_dict().items()})
    assert furthest(*numbers) <= 1e-12
