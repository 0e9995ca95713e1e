"""Norms of single examples' gradients equal a loop over the examples, for every rule; nothing else changes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from critbatch.ghost import Norms, Recorder

COUNT = 5
Case = tuple[Callable[[], nn.Module], Callable[[torch.Generator], Tensor]]


class TiedLanguageModel(nn.Module):
    """Token and positional embedding, attention written out, one weight at both ends."""

    def __init__(self, *, padding: int | None = None) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6, padding_idx=padding)
        self.places = nn.Embedding(9, 6)
        self.mix = nn.Linear(6, 18)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
        query, key, value = self.mix(self.norm(hidden)).chunk(3, -1)
        return self.head(hidden + F.scaled_dot_product_attention(query, key, value, is_causal=True))


class Patches(nn.Module):
    """Class token, positional parameter and a scale of its own in a module that has layers too."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(2, 6, 2, stride=2)
        self.token = nn.Parameter(0.1 * torch.randn(1, 1, 6))
        self.places = nn.Parameter(0.1 * torch.randn(1, 10, 6))
        self.shift = nn.Parameter(0.1 * torch.randn(6))
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.cut(images).flatten(2).mT
        everything = torch.cat([self.token.expand(len(images), -1, -1), patches], 1)
        hidden = torch.tanh(everything + self.places[:, : everything.shape[1]] - self.shift)
        return self.head(hidden[:, 0])


class Twice(nn.Module):
    """One layer called twice, one convolution called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.turn, self.fold = nn.Linear(6, 6), nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        hidden = torch.tanh(self.turn(torch.tanh(self.turn(values))))
        return self.fold(torch.tanh(self.fold(hidden[:, None])))[:, 0]


class Scale(nn.Module):
    """A layer that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.rand(6))

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor**2


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(3, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.cell(values)[0][:, -1])


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.look = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:
        return self.look(values, values, values, need_weights=False)[0]


def normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(COUNT, *shape, generator=generator, dtype=torch.float64)


def tokens(count: int, length: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randint(count, (COUNT, length), generator=generator)


CASES: dict[str, Case] = {
    "linear": (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2)), normal(4)),
    "linear without bias": (lambda: nn.Linear(4, 3, bias=False), normal(4)),
    "short sequences": (lambda: nn.Linear(20, 30), normal(3, 20)),
    "long sequences": (lambda: nn.Linear(2, 3), normal(40, 2)),
    "two axes of positions": (lambda: nn.Linear(4, 3), normal(2, 3, 4)),
    "flattened positions": (
        lambda: nn.Sequential(nn.Flatten(0, 1), nn.Linear(4, 3), nn.LayerNorm(3), nn.Unflatten(0, (-1, 7))),
        normal(7, 4),
    ),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1), normal(2, 9)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3), normal(2, 6, 6)),
    "conv2d late": (lambda: nn.Conv2d(16, 32, 3, padding=1), normal(16, 2, 2)),
    "conv2d late grouped": (lambda: nn.Conv2d(32, 32, 3, padding=1, groups=2), normal(32, 2, 3)),
    "conv2d dilated, strided, grouped": (
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(2, 1), groups=2), normal(4, 9, 7),
    ),
    "conv2d late dilated, strided": (
        lambda: nn.Conv2d(24, 24, (3, 2), stride=(2, 1), padding=(1, 1), dilation=(2, 1)), normal(24, 5, 3),
    ),
    "conv2d depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), normal(4, 6, 6)),
    "conv2d reflecting": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), normal(2, 6, 6)),
    "conv2d same": (lambda: nn.Conv2d(2, 3, (5, 3), padding="same"), normal(2, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, dilation=2), normal(2, 4, 5, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), normal(2, 4, 4)),
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm((3, 4)), nn.Flatten(), nn.Linear(12, 2)), normal(3, 4)),
    "RMS norm": (lambda: nn.RMSNorm(4), normal(5, 4)),
    "group norm": (lambda: nn.GroupNorm(2, 6), normal(6, 3, 3)),
    "instance norm": (lambda: nn.InstanceNorm2d(3, affine=True), normal(3, 4, 4)),
    "batch norm that remembers": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 2)).eval(), normal(3, 4, 4)),
    "embedding": (lambda: nn.Sequential(nn.Embedding(7, 4, padding_idx=2), nn.Linear(4, 3)), tokens(7, 9)),
    "one token": (lambda: nn.Embedding(7, 4), lambda g: torch.randint(7, (COUNT,), generator=g)),
    "sparse embedding": (lambda: nn.Embedding(7, 4, sparse=True), tokens(7, 9)),
    "tied language model": (TiedLanguageModel, tokens(11, 8)),
    "tied, with padding": (lambda: TiedLanguageModel(padding=3), tokens(11, 8)),
    "class token and positions": (Patches, normal(2, 6, 6)),
    "layers called twice": (Twice, normal(6)),
    "unknown layer": (lambda: nn.Sequential(nn.Linear(6, 6), Scale(), nn.Linear(6, 2)), normal(6)),
    "LSTM": (Recurrent, normal(4, 3)),
    "attention": (Attentive, normal(4, 6)),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True), normal(4, 6)),
}  # fmt: skip


def problem(name: str, dtype: torch.dtype) -> tuple[nn.Module, Tensor, Tensor]:
    make, draw = CASES[name]
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(2)
        model = make().to(dtype)
    inputs = draw(generator)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    with torch.no_grad():
        direction = torch.randn(model(inputs).shape, generator=generator, dtype=torch.float64).to(dtype)
    return model, inputs, direction


def losses(outputs: Tensor, direction: Tensor) -> Tensor:
    return (torch.sin(outputs) * direction).flatten(1).sum(1)


def loop(model: nn.Module, inputs: Tensor, direction: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return squared norms by one backward pass an example: the naive twin."""
    rows: list[dict[str, Tensor]] = []
    named = dict(model.named_parameters())
    for i in range(COUNT):
        loss = losses(model(inputs[i : i + 1]), direction[i : i + 1]).sum() / COUNT
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        dense = {
            n: (torch.zeros_like(named[n]) if g is None else g.to_dense()) for n, g in zip(named, found, strict=True)
        }
        rows.append({n: (g.square() * weights.get(n, torch.ones(()))).sum() for n, g in dense.items()})
    return {n: torch.stack([row[n] for row in rows]) for n in named}


def recorded(model: nn.Module, inputs: Tensor, direction: Tensor, **options: Any) -> Norms:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    recorder = Recorder(model, names)
    recorder.arm(**options)
    losses(model(inputs), direction).mean().backward()
    found = recorder.take()
    recorder.disarm()
    return found


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_norms_equal_a_loop_over_examples(name: str, dtype: torch.dtype, tolerance: float) -> None:
    model, inputs, direction = problem(name, dtype)
    expected = loop(model, inputs, direction, {})
    found = recorded(model, inputs, direction)
    assert not found.unknown
    assert set(found.plain) == set(expected)
    for parameter, norms in expected.items():
        scale = float(norms.max())
        assert torch.allclose(found.plain[parameter].to(norms), norms, rtol=tolerance, atol=tolerance * scale), (
            parameter
        )


@pytest.mark.parametrize("name", CASES)
def test_weighted_norms_and_totals(name: str) -> None:
    model, inputs, direction = problem(name, torch.float64)
    generator = torch.Generator().manual_seed(3)
    weights = {n: torch.rand(p.shape, generator=generator, dtype=p.dtype) for n, p in model.named_parameters()}
    expected = loop(model, inputs, direction, weights)
    found = recorded(model, inputs, direction, weights=weights.__getitem__, with_totals=True)
    views = {"places"} if name == "class token and positions" else set()  # a slice: its coordinates are not known
    assert set(found.weighted) == set(expected) - views
    for parameter, norms in found.weighted.items():
        assert torch.allclose(norms, expected[parameter], rtol=1e-10, atol=1e-14), parameter
    for parameter, value in model.named_parameters():
        if parameter not in views:
            assert value.grad is not None
            gradient = value.grad.to_dense() if value.grad.is_sparse else value.grad
            assert torch.allclose(found.totals[parameter], gradient, rtol=1e-9, atol=1e-13), parameter


@pytest.mark.parametrize("name", CASES)
def test_recording_changes_no_bit_of_the_gradient(name: str) -> None:
    model, inputs, direction = problem(name, torch.float32)
    losses(model(inputs), direction).mean().backward()
    plain = {n: p.grad.to_dense().clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    before = torch.get_rng_state()
    recorded(model, inputs, direction, with_totals=True)
    assert torch.equal(torch.get_rng_state(), before)
    for parameter, value in model.named_parameters():
        assert value.grad is not None
        assert torch.equal(value.grad.to_dense(), plain[parameter]), parameter


def test_checkpointed_layers_count_once() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))

        def forward(self, values: Tensor) -> Tensor:
            return checkpoint(self.inner, values, use_reentrant=False)

    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        model = Checkpointed().double()
    inputs, direction = normal(6)(torch.Generator().manual_seed(0)), torch.ones(COUNT, 2, dtype=torch.float64)
    found = recorded(model, inputs, direction)
    for parameter, norms in loop(model, inputs, direction, {}).items():
        assert torch.allclose(found.plain[parameter], norms, rtol=1e-10)


def test_frozen_and_unused_parameters_are_left_out() -> None:
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "unused": nn.Linear(3, 2)}).double()
    model["used"].bias.requires_grad_(False)
    names = {id(p): n for n, p in model.named_parameters() if p.requires_grad}
    recorder = Recorder(model["used"], names)
    recorder.arm()
    model["used"](normal(3)(torch.Generator().manual_seed(0))).sum().backward()
    assert set(recorder.take().plain) == {"used.weight"}


def test_what_cannot_be_called_again_is_named() -> None:
    class Noisy(Scale):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, values: Tensor) -> Tensor:
            return self.drop(values * self.factor**2)

    model = nn.Sequential(nn.Linear(6, 6), Noisy(), nn.Linear(6, 6)).double()
    found = recorded(model, normal(6)(torch.Generator().manual_seed(0)), torch.ones(COUNT, 6, dtype=torch.float64))
    assert list(found.unknown) == ["1.factor"]
    assert "dropout" in found.unknown["1.factor"]
