"""Text that every Python installation has, and a transformer that guesses its next character."""

from __future__ import annotations

import pydoc
from functools import cache
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError

MODULES = ("argparse", "collections", "datetime", "decimal", "logging", "pathlib", "random", "threading")
"""Modules of the standard library whose documentation is read, about 300,000 characters."""


@final
class EncodedText(NamedTuple):
    """A text as numbers.

    Args:
        codes: number of every character.
        characters: those that occur, in order; a code counts into them.
    """

    codes: Int[Tensor, " length"]
    characters: str

    def draw(self, rows: int, context: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pieces from random places, (rows, context), and the same one character later.

        Args:
            rows: number of pieces.
            context: characters of each.
            generator: of the places.

        Raises:
            InputError: the text is shorter than a piece.
        """
        if len(self.codes) < context + 2:
            raise InputError(f"context: {context} characters do not fit into a text of {len(self.codes)}")
        starts = torch.randint(len(self.codes) - context - 1, (rows, 1), generator=generator)
        pieces = self.codes[starts + torch.arange(context + 1)]
        return pieces[:, :-1], pieces[:, 1:]


@cache
def encoded_documentation(modules: tuple[str, ...] = MODULES) -> EncodedText:
    """Documentation of modules, one after the other, as `pydoc` prints it; it differs between versions of Python."""
    text = "".join(pydoc.plain(pydoc.render_doc(name)) for name in modules)
    characters = "".join(sorted(set(text)))
    number = {character: code for code, character in enumerate(characters)}
    return EncodedText(torch.tensor([number[character] for character in text]), characters)


@final
class CharacterTransformer(nn.Module):
    """Attention and dense layers behind normalisations, each character seeing those before it.

    Args:
        characters: number of different ones.
        context: longest piece.
        width: of every layer.
        layers: number of blocks.
        heads: of attention.
    """

    def __init__(self, characters: int, *, context: int, width: int = 128, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.table = nn.Embedding(characters, width)
        self.place = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.Sequential(*(_Block(context, width, heads) for _ in range(layers)))
        self.head = nn.Linear(width, characters)

    def forward(self, codes: Int[Tensor, "rows context"]) -> Float[Tensor, "rows characters context"]:
        """Logits of the next character, classes second as `cross_entropy` takes them."""
        return self.head(self.blocks(self.table(codes) + self.place)).mT


class _Block(nn.Module):
    def __init__(self, context: int, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.wide_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.wide = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mask = nn.Buffer(torch.ones(context, context).triu(1).bool())

    def forward(self, x: Tensor) -> Tensor:
        normal = self.norm(x)
        x = x + self.attention(normal, normal, normal, attn_mask=self.mask, need_weights=False)[0]
        return x + self.wide(self.wide_norm(x))
