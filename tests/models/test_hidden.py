"""What counts as a hidden layer, what is read there, and that silencing a unit is silencing that unit."""

import pytest
import torch
from torch import nn

from critbatch.models.hidden import MOST_OBSERVATIONS, hidden_layers, reference_examples, silenced
from critbatch.models.mlp import mlp
from critbatch.models.transformer import transformer
from tests.problems import ZOO, blob_task, blobs, wide_cnn

DRAW = torch.Generator().manual_seed(0)
INPUTS = torch.randn(7, 4, generator=DRAW)

SEED = 0  # at which the units that are silenced are not dead already


@pytest.fixture(autouse=True)
def _same_weights_always():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        yield


def double(model: nn.Module) -> nn.Module:
    return model.double().eval()


class Written(nn.Module):
    """One ReLU module for two layers, and an activation that is written as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.out = (nn.Linear(4, 4) for _ in range(4))
        self.relu = nn.ReLU()

    def forward(self, inputs):
        states = self.relu(self.second(self.relu(self.first(inputs))))
        return self.out(torch.tanh(self.third(states)))


def test_a_perceptron_has_its_units_after_the_activation_and_its_outputs_are_no_units():
    model = double(mlp((4, 5, 6, 3), nn.ReLU))
    layers = hidden_layers(model, INPUTS.double())
    assert [layer.outputs.shape for layer in layers] == [(7, 5), (7, 6)]
    linear = [part for part in model if isinstance(part, nn.Linear)]
    first = (INPUTS.double() @ linear[0].weight.T + linear[0].bias).clamp(min=0)
    second = (first @ linear[1].weight.T + linear[1].bias).clamp(min=0)
    for layer, part, outputs in zip(layers, linear, (first, second), strict=False):
        torch.testing.assert_close(layer.outputs, outputs, rtol=1e-12, atol=1e-14)
        assert torch.equal(layer.weights, part.weight)


def test_normalisation_lies_between_a_layer_and_its_activation():
    model = double(mlp((4, 5, 3), nn.Tanh, batch_norm=True))
    (layer,) = hidden_layers(model, INPUTS.double())
    torch.testing.assert_close(layer.outputs, model[:4](INPUTS.double()))


def test_an_activation_used_twice_and_one_that_cannot_be_seen():
    model = double(Written())
    inputs = INPUTS.double()
    layers = hidden_layers(model, inputs)
    first = model.first(inputs).relu()
    second = model.second(first).relu()
    for layer, outputs in zip(layers, (first, second, model.third(second)), strict=True):
        torch.testing.assert_close(layer.outputs, outputs)


@pytest.mark.parametrize(("at", "unit"), [(0, 1), (1, 3), (2, 0)])
def test_silencing_a_unit_is_to_cut_what_it_feeds(at, unit):
    model, inputs = double(Written()), INPUTS.double()
    layers = hidden_layers(model, inputs)
    kept = [torch.ones(4, dtype=torch.bool) for _ in layers]
    kept[at][unit] = False
    found = silenced(model, inputs, layers, kept)
    assert not torch.equal(found, model(inputs))
    with torch.no_grad():  # tanh(0) = 0: the third layer's units can be cut there too
        (model.second, model.third, model.out)[at].weight[:, unit] = 0
    torch.testing.assert_close(found, model(inputs), rtol=1e-12, atol=1e-14)


def test_channels_are_the_units_of_a_convolution_and_its_places_are_rows():
    model = double(wide_cnn())
    inputs = torch.randn(5, 2, 6, 6, generator=DRAW, dtype=torch.float64)
    first, second = hidden_layers(model, inputs)
    outputs = model[:3](inputs)
    assert first.outputs.shape == (5 * 36, 4)
    torch.testing.assert_close(first.outputs.T.reshape(4, 5, 6, 6), outputs.transpose(0, 1))
    assert first.weights.shape == (4, 2 * 9)
    assert second.weights.shape == (4, 2 * 4)
    labels = torch.arange(5)
    assert torch.equal(first.labels(labels), labels.repeat_interleave(36))
    kept = [torch.tensor([True, False, True, True]), torch.ones(4, dtype=torch.bool)]
    expected = outputs.clone()
    expected[:, 1] = 0
    torch.testing.assert_close(silenced(model, inputs, [first, second], kept), model[3:](expected))


def test_positions_of_a_sequence_are_rows_with_labels_of_their_own():
    model = transformer(5, 4, width=4, heads=2, layers=1).eval()
    tokens = torch.randint(5, (6, 4), generator=DRAW)
    layers = hidden_layers(model, tokens)
    assert [layer.outputs.shape for layer in layers] == [(24, 12), (24, 4), (24, 16), (24, 4)]
    targets = torch.randint(5, (6, 4), generator=DRAW)
    assert torch.equal(layers[0].labels(targets), targets.flatten())
    assert layers[0].labels(targets[:, :3]) is None
    assert layers[0].labels(torch.randn(6)) is None


def test_many_places_are_thinned_evenly():
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(20_000, 2)).eval()
    inputs = torch.arange(20_000.0).reshape(2, 1, 10_000)
    with torch.no_grad():
        model[0].weight[:], model[0].bias[:] = 1.0, 0.0
    (layer,) = hidden_layers(model, inputs)
    assert layer.outputs.shape == (MOST_OBSERVATIONS, 2)
    assert layer.outputs[0, 0] == 0
    assert layer.outputs[-1, 0] == 19_999
    assert layer.outputs[:, 0].diff().unique().tolist() == [1, 2]
    assert torch.equal(layer.labels(torch.tensor([3, 4])), 3 + (layer.outputs[:, 0] >= 10_000).long())


@pytest.mark.parametrize(("name", "layers"), [("linear", 0), ("lstm", 0), ("encoder layer", 2), ("frozen", 1)])
def test_what_other_architectures_have(name, layers):
    make, shape = ZOO[name]
    model = make().eval()
    inputs = torch.randn(3, *shape, generator=DRAW)
    before = model(inputs)
    found = hidden_layers(model, inputs)
    assert len(found) == layers
    torch.testing.assert_close(model(inputs), before)  # no hook is left
    assert not any(part._forward_hooks for part in model.modules())


def test_units_are_read_before_something_changes_them_in_place():
    model = double(
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Dropout(0.5, inplace=True), nn.Linear(5, 2))
    )
    model[2].train()
    (layer,) = hidden_layers(model, INPUTS.double())
    torch.testing.assert_close(layer.outputs, model[0](INPUTS.double()).relu())


def test_the_reference_is_held_out_fixed_and_of_the_size_asked_for():
    like = torch.zeros(1, dtype=torch.float64)
    task = blob_task()
    found = reference_examples(task, 50, like)
    assert len(found) == 50
    assert found.inputs.dtype == torch.float64
    validation = {tuple(row) for row in task.validation.inputs.tolist()}
    assert {tuple(row) for row in found.inputs.float().tolist()} <= validation
    assert torch.equal(found.inputs, reference_examples(blob_task(), 50, like).inputs)
    assert len(reference_examples(task, 1000, like)) == len(task.validation)
    alone = blob_task(validation=None, target=None)
    assert torch.equal(reference_examples(alone, 1000, torch.zeros(1)).inputs, blobs(300, 1)[0])
