"""Images of letters and digits, shifted, turned, scaled and noisy: classification that needs no download."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError, MissingDependencyError

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Class k is the k-th of these."""

_DRAWN = 64  # pixels of the drawing that all images of a class are resampled from


@final
class Glyphs(NamedTuple):
    """Images with their classes."""

    images: Float[Tensor, "n 1 size size"]
    labels: Int[Tensor, " n"]


def glyphs(
    n: int,
    *,
    classes: int = 10,
    size: int = 28,
    seed: int = 0,
    shift: float = 0.1,
    turn: float = 0.3,
    stretch: float = 0.2,
    noise: float = 0.1,
) -> Glyphs:
    """Draw images; classes are equally frequent to within one, in random order.

    Args:
        n: number of images.
        classes: the first this many of `CHARACTERS`, at most 36.
        size: pixels a side.
        seed: of everything random.
        shift: largest displacement along each axis, as a part of the image's side.
        turn: largest rotation in radians, either way.
        stretch: largest logarithm of the scale, either way.
        noise: standard deviation of what is added to pixels, which lie in [0, 1] before.

    Returns:
        Images in float32, dark background, and labels in int64.

    Raises:
        InputError: a number out of its range.
        MissingDependencyError: Pillow is not installed.
    """
    if n < 1 or size < 4 or not 1 <= classes <= len(CHARACTERS):
        raise InputError(
            f"n, size, classes: need n >= 1, size >= 4 and 1 <= classes <= {len(CHARACTERS)}, "
            f"got {n}, {size}, {classes}"
        )
    if min(shift, turn, stretch, noise) < 0:
        raise InputError(f"shift, turn, stretch, noise: must not be negative, got {shift}, {turn}, {stretch}, {noise}")
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.arange(n) % classes)[torch.randperm(n, generator=generator)]
    random = 2 * torch.rand(4, n, generator=generator) - 1
    angle, scale, offset = turn * random[0], (stretch * random[1]).exp(), 2 * shift * random[2:]
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    rows = torch.stack((cosine, -sine, offset[0], sine, cosine, offset[1]), dim=-1).unflatten(-1, (2, 3))
    images = torch.empty(n, 1, size, size)
    for start in range(0, n, 1024):
        part = slice(start, start + 1024)
        sources = _drawings()[labels[part]]
        grid = F.affine_grid(rows[part], [len(sources), 1, size, size], align_corners=False)
        images[part] = F.grid_sample(sources, grid, align_corners=False)
    images += noise * torch.randn(images.shape, generator=generator)
    return Glyphs(images, labels)


@cache
def _drawings() -> Float[Tensor, "classes 1 drawn drawn"]:
    """All characters, centred, blurred a little so that coarse images do not alias."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingDependencyError("glyphs", "pillow") from error
    font = ImageFont.load_default(44)
    pictures = []
    for character in CHARACTERS:
        picture = Image.new("L", (_DRAWN, _DRAWN), 0)
        ImageDraw.Draw(picture).text((_DRAWN / 2, _DRAWN / 2), character, fill=255, font=font, anchor="mm")
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        pictures.append(pixels.view(1, _DRAWN, _DRAWN).float() / 255)
    offsets = torch.arange(-3.0, 4.0)
    bell = (-offsets.square() / 4).exp() / math.sqrt(4 * math.pi)
    kernel = torch.outer(bell, bell)[None, None]
    return F.conv2d(torch.stack(pictures), kernel / kernel.sum(), padding=3)
