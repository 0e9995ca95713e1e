"""A small causal transformer over characters or other tokens."""

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def transformer(
    tokens: int, length: int, *, width: int = 64, heads: int = 4, layers: int = 2, dropout: float = 0.0
) -> nn.Module:
    """Return a transformer that predicts the next token at each position from those up to it.

    Layers are normalised before attention and perceptron (pre-norm); positions are learned. Attention is written out in
    plain operations: fused kernels have no second derivative, which curvature needs.

    Source: Vaswani et al. (2017), arXiv:1706.03762; normalised before each part as in Radford et al. (2019), GPT-2.

    Args:
        tokens: Size of the alphabet.
        length: Longest sequence.
        width: Numbers that represent a position, a multiple of `heads`.
        heads: Attention heads in each layer.
        layers: Blocks of attention and perceptron.
        dropout: Share of the numbers that training drops after attention and perceptron.

    Raises:
        ValueError: If the heads do not divide the width.
    """
    if width % heads:
        raise ValueError(f"`transformer(width={width}, heads={heads})`: the heads must divide the width.")
    return Transformer(tokens, length, [Block(width, heads, dropout) for _ in range(layers)], width)


@final
class Transformer(nn.Module):
    """Token and position embeddings, blocks, and a linear read-out to logits."""

    def __init__(self, tokens: int, length: int, blocks: list["Block"], width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.position = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, tokens)

    def forward(self, sequence: Int[Tensor, "example position"]) -> Float[Tensor, "example position token"]:
        """Return the logits of the token that follows each position."""
        embedded = self.embed(sequence) + self.position.weight[: sequence.shape[1]]
        return self.logits(self.norm(self.blocks(embedded)))


@final
class Block(nn.Module):
    """Causal self-attention, then a perceptron four times as wide; each is added to what came in."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Float[Tensor, "example position width"]) -> Float[Tensor, "example position width"]:
        """Return the states after attention and perceptron."""
        states = states + self.dropout(self.attention_out(self._attend(self.attention_norm(states))))
        return states + self.perceptron(states)

    def _attend(self, states: Tensor) -> Tensor:
        count, length, width = states.shape
        split = self.query_key_value(states).reshape(count, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5
        later = torch.ones(length, length, dtype=torch.bool, device=states.device).triu(1)
        mixed = scores.masked_fill(later, float("-inf")).softmax(-1) @ value
        return mixed.transpose(1, 2).reshape(count, length, width)
