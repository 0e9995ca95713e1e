"""A user's own character transformer on Shakespeare, with a loss of its own: one value for each sequence.

critbatch run examples/shakespeare_transformer.py:task

Set CRITBATCH_DATA to a folder that holds tiny-shakespeare/input.txt. Any other text of that name will do.
"""

import os
from pathlib import Path

import torch
from torch import nn

import critbatch as cb

LENGTH, WIDTH, TRAIN, HELD_OUT = 24, 48, 4_000, 400


class CharacterModel(nn.Module):
    """One block of causal attention between an embedding and a read-out."""

    def __init__(self, characters: int):
        super().__init__()
        self.embed = nn.Embedding(characters, WIDTH)
        self.place = nn.Embedding(LENGTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)
        self.think = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.read_out = nn.Linear(WIDTH, characters)

    def forward(self, text):
        states = self.embed(text) + self.place.weight
        query, key, value = self.mix(self.norm(states)).chunk(3, dim=-1)
        later = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=text.device).triu(1)
        scores = (query @ key.transpose(1, 2) / WIDTH**0.5).masked_fill(later, float("-inf"))
        states = states + scores.softmax(-1) @ value
        return self.read_out(states + self.think(states))


def surprise(outputs, targets):
    """Return the mean surprise of each sequence in bits, without its first quarter: too little to predict from."""
    start = LENGTH // 4
    nats = nn.functional.cross_entropy(outputs[:, start:].transpose(1, 2), targets[:, start:], reduction="none")
    return nats.mean(1) / torch.log(torch.tensor(2.0))


def task() -> cb.Task:
    text = (Path(os.environ["CRITBATCH_DATA"]) / "tiny-shakespeare" / "input.txt").read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    tokens = torch.tensor([alphabet.index(character) for character in text[: LENGTH * (TRAIN + 2 * HELD_OUT) + 1]])
    inputs, targets = tokens[:-1].reshape(-1, LENGTH), tokens[1:].reshape(-1, LENGTH)
    train, validation, test = (
        (inputs[start:stop], targets[start:stop])
        for start, stop in ((0, TRAIN), (TRAIN, TRAIN + HELD_OUT), (TRAIN + HELD_OUT, TRAIN + 2 * HELD_OUT))
    )
    return cb.Task(
        name="my_shakespeare",
        model=lambda: CharacterModel(len(alphabet)),
        train=train,
        validation=validation,
        test=test,
        loss=surprise,
        metric=cb.Metric("bits", surprise, "below"),
        target=cb.Target("validation_loss", 3.6),
    )
