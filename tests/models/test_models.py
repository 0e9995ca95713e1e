"""Every model: the shapes and sizes that it states, second derivatives, and populations trained at once."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from critbatch.models.cnn import cnn
from critbatch.models.linear import linear
from critbatch.models.mlp import mlp
from critbatch.models.transformer import Block, transformer
from critbatch.objective import cross_entropy
from critbatch.randomness import generator

SOURCE = generator(0, "test models")
PIXELS, COLOURS = torch.randn(5, 1, 28, 28, generator=SOURCE), torch.randn(5, 3, 32, 32, generator=SOURCE)
TEXT = torch.randint(65, (5, 32), generator=SOURCE)
# factory, inputs, shape of the outputs, parameters
MODELS = {
    "linear": (lambda: linear(784, 10), PIXELS, (5, 10), 784 * 10 + 10),
    "mlp": (lambda: mlp((784, 8, 6, 10)), PIXELS, (5, 10), 784 * 8 + 8 + 8 * 6 + 6 + 6 * 10 + 10),
    "mlp without a hidden layer": (lambda: mlp((784, 10)), PIXELS, (5, 10), 784 * 10 + 10),
    "mlp with batch normalisation": (
        lambda: mlp((784, 8, 10), nn.Tanh, batch_norm=True), PIXELS, (5, 10), 784 * 8 + 8 + 2 * 8 + 8 * 10 + 10,
    ),
    "cnn, grey": (lambda: cnn(1, 28, 10), PIXELS, (5, 10), 160 + 4640 + 32 * 49 * 10 + 10),
    "cnn, colour": (lambda: cnn(3, 32, 10), COLOURS, (5, 10), 448 + 4640 + 32 * 64 * 10 + 10),
    "transformer": (
        lambda: transformer(65, 32), TEXT, (5, 32, 65),
        97 * 64 + 2 * (2 * 128 + 64 * 192 + 192 + 64 * 64 + 64 + 2 * 64 * 256 + 256 + 64) + 128 + 64 * 65 + 65,
    ),
}  # fmt: skip


def built(name):
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        return MODELS[name][0]()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_outputs_and_the_parameters_that_it_states(name):
    _, inputs, shape, count = MODELS[name]
    model = built(name)
    assert model(inputs).shape == shape
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("name", MODELS)
def test_a_new_model_prefers_no_class(name):
    outputs = built(name)(MODELS[name][1])
    surprise = float(
        -outputs.detach().log_softmax(-1).mean()
    )  # over all examples and classes; log(classes) if all are equal
    assert 0 <= surprise - math.log(outputs.shape[-1]) < 0.5


def derivatives(name):
    """Return a double precision model's parameters, and a function for its gradient that can be differentiated."""
    model, inputs = built(name).double(), MODELS[name][1]
    inputs = inputs if name == "transformer" else inputs.double()
    parameters = list(model.parameters())

    def gradient() -> torch.Tensor:
        outputs = model(inputs)
        losses = cross_entropy(outputs, torch.ones(outputs.shape[:-1], dtype=torch.int64))
        parts = torch.autograd.grad(losses.mean(), parameters, create_graph=True)
        return torch.cat([part.flatten() for part in parts])

    return parameters, gradient


def hessian_product(parameters, gradient, direction):
    parts = torch.autograd.grad(gradient() @ direction, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("name", MODELS)
def test_the_hessian_is_there_and_symmetric(name):
    parameters, gradient = derivatives(name)
    count = sum(parameter.numel() for parameter in parameters)
    first, second = torch.randn(2, count, generator=SOURCE, dtype=torch.float64)
    one, other = hessian_product(parameters, gradient, first), hessian_product(parameters, gradient, second)
    scale = float(one.norm() * second.norm())
    assert scale > 0
    assert abs(float(one @ second - other @ first)) <= 1e-12 * scale


@pytest.mark.parametrize("name", ["linear", "mlp with batch normalisation", "transformer"])  # smooth: no ReLU
def test_the_hessian_is_the_slope_of_the_gradient(name):
    parameters, gradient = derivatives(name)
    direction = torch.randn(sum(one.numel() for one in parameters), generator=SOURCE, dtype=torch.float64)
    direction /= direction.norm()
    exact = hessian_product(parameters, gradient, direction)
    start, step = nn.utils.parameters_to_vector(parameters).detach(), 1e-5
    sides = []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(start + sign * step * direction, parameters)
        sides.append(gradient().detach())
    # central differences: the truncation is of the order of step^2, the rounding of 1e-16 / step
    assert float(((sides[0] - sides[1]) / (2 * step) - exact).norm()) <= 1e-6 * float(exact.norm())


@pytest.mark.parametrize("name", [name for name in MODELS if "batch" not in name])
def test_a_population_gives_the_outputs_of_its_members(name):
    make, inputs = MODELS[name][:2]
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        members = [make() for _ in range(3)]
    parameters, buffers = stack_module_state(members)
    skeleton = copy.deepcopy(members[0]).to("meta")
    together = vmap(lambda one, other: functional_call(skeleton, (one, other), (inputs,)))(parameters, buffers)
    for member, outputs in zip(members, together, strict=True):
        torch.testing.assert_close(outputs, member(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in MODELS if "batch" not in name])
def test_an_example_does_not_depend_on_the_rest_of_its_batch(name):
    model, inputs = built(name), MODELS[name][1]
    torch.testing.assert_close(model(inputs)[:2], model(inputs[:2]), rtol=1e-4, atol=1e-5)


def test_with_batch_normalisation_an_example_depends_on_its_batch():
    model, inputs = built("mlp with batch normalisation"), PIXELS
    assert not torch.allclose(model(inputs)[:2], model(inputs[:2]))


def test_the_transformer_looks_at_no_later_character():
    model = built("transformer")
    changed = TEXT.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 65
    before, after = model(TEXT), model(changed)
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert not torch.allclose(before[:, 20:], after[:, 20:])
    assert model(TEXT[:, :7]).shape == (5, 7, 65)


def test_attention_is_that_of_torch():
    block = Block(64, 4, 0.0)
    states = torch.randn(2, 9, 64, generator=SOURCE)
    heads = [part.reshape(2, 9, 4, 16).transpose(1, 2) for part in block.query_key_value(states).split(64, dim=-1)]
    fused = nn.functional.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).reshape(2, 9, 64)
    torch.testing.assert_close(block._attend(states), fused, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only():
    model = transformer(65, 32, dropout=0.5)
    assert not torch.equal(model(TEXT), model(TEXT))
    model.eval()
    assert torch.equal(model(TEXT), model(TEXT))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp((3,)), r"`mlp\(sizes=\(3,\)\)`: needs the sizes of inputs and outputs"),
        (lambda: cnn(1, 30, 10), r"`cnn\(side=30\)`: the side is halved twice. Use a multiple of 4"),
        (lambda: transformer(65, 32, width=10, heads=4), r"width=10, heads=4\)`: the heads must divide the width"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
