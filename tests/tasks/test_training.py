"""The default task reaches its target as its text says, and the convex control has the minimum that its text states."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from critbatch import catalog
from critbatch.randomness import generator


def steps_to_target(name: str, *, batch_size: int, learning_rate: float, most: int, every: int) -> int | None:
    """Return the first look at which a run of plain gradient descent is past the target of a task."""
    task = catalog.load_task(name)
    model, order = task.initialise(0), generator(0, "order")
    target = task.target
    assert target is not None
    split, _, quantity = target.quantity.partition("_")
    data = task.train.epoch(0, 0)
    for step in range(1, most + 1):
        chosen = torch.randperm(len(data), generator=order)[:batch_size]
        loss = task.losses(model(data.inputs[chosen]), data.targets[chosen]).mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(gradient + task.l2 * parameter, alpha=learning_rate)
            if step % every == 0:
                part = task.splits[split]
                values = task.losses if quantity == "loss" else task.metric.values
                value = float(values(model(part.inputs), part.targets).mean())
                if (value >= target.value) == (target.direction == "above"):
                    return step
    return None


@pytest.mark.parametrize(
    ("name", "batch_size", "learning_rate", "most"),
    [
        ("digits", 1024, 4.0, 100),
        ("digits", 16, 0.5, 600),
        ("digits", 1, 0.06, 4000),
        ("digits_linear", 64, 4.0, 300),
        ("breast_cancer", 32, 0.5, 60),
        ("wine", 16, 0.5, 120),
        ("iris", 16, 0.5, 300),
        ("diabetes", 16, 0.12, 400),
        ("teacher_student", 256, 0.5, 400),
    ],
)
def test_a_tuned_run_reaches_the_target_but_not_at_once(name, batch_size, learning_rate, most):
    steps = steps_to_target(
        name, batch_size=batch_size, learning_rate=learning_rate, most=most, every=max(1, most // 100)
    )
    assert steps is not None
    assert steps > most // 100


def test_the_training_loss_at_the_minimum_of_the_convex_control_is_the_one_that_its_text_states():
    task = catalog.load_task("digits_linear")
    data = task.train.epoch(0, 0)
    # scikit-learn minimises C * sum of losses + |weights|^2 / 2, without a penalty on the intercepts, as we have one:
    # the constant 1 as an input more makes its intercept a weight like the others
    inputs = torch.cat([data.inputs, torch.ones(len(data), 1)], 1).double().numpy()
    solver = LogisticRegression(C=1 / (task.l2 * len(data)), fit_intercept=False, tol=1e-8, max_iter=2000)
    solver.fit(inputs, data.targets.numpy())  # pyrefly: ignore[bad-argument-type]
    outputs = torch.from_numpy(inputs @ solver.coef_.T)
    assert float(task.losses(outputs, data.targets).mean()) == pytest.approx(0.120, abs=1e-3)
