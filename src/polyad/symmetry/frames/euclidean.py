"""Frames of point clouds: the few motions that bring a cloud to its principal axes.

With centroid t and covariance C = V diag(l) V^T, l ascending, the frame of a cloud is

    F = {(V diag(s), t) : s in {-1, 1}^d}                     2^d elements, for E(d);
    only those with det(V diag(s)) = 1                        2^(d-1), for SE(d);
    the same with t = 0 (covariance about the origin)         for O(d) and SO(d).

A motion g of the cloud moves its frame along, F(g X) = g F(X), so an average over the frame is equivariant. The
condition is on the determinant of the product: eigenvectors come with either hand, so that the signs alone say nothing.

A row x of coordinates belongs to the frame's axes as R^T (x - t), and back as R y + t.

Source: O. Puny et al., ICLR 2022, arXiv:2110.03336, section 3.1.

*When not to use it*: clouds with equal principal moments (a square, a tetrahedron, two points in space): their true
frame is infinite, and the eigenvectors that a routine returns are not equivariant. Such clouds are told by
`EuclideanFrames.degenerate` and a warning, and their axes are constants in gradients. Near them, averages over frames
jump and gradients grow as 1 / gap.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from itertools import product
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError

GROUPS = ("O", "SO", "E", "SE")
"""Rotations and reflections, rotations, and both with translations."""

REPRESENTATIONS = {
    "scalar": (0, False), "vector": (1, True), "matrix": (2, True), "position": (1, True),
    "structure_vector": (1, False), "structure_matrix": (2, False), "structure_position": (1, False),
}  # fmt: skip
"""Names of how values change under a motion -> (axes of space at the end, whether rows are points or structures)."""


class DegenerateFrameWarning(UserWarning):
    """Principal axes that are not unique, so an average over the frame is not equivariant."""


@final
@dataclass(frozen=True, eq=False)
class EuclideanFrames:
    """Frames of one or many clouds, each with the same number of elements, which count alike.

    Args:
        rotation: (elements, structures, d, d) columns are the axes of the frame.
        translation: (structures, d) origin of the frame; zero for O(d) and SO(d).
        structure: (points,) which structure a point belongs to.
        degenerate: (structures,) whether the axes are not unique, within the tolerance.
    """

    rotation: Float[Tensor, "elements structures d d"]
    translation: Float[Tensor, "structures d"]
    structure: Int[Tensor, " points"]
    degenerate: Bool[Tensor, " structures"]

    def __len__(self) -> int:
        """Number of elements of the frame of a structure that are held here."""
        return len(self.rotation)

    @property
    def finite(self) -> Bool[Tensor, " structures"]:
        """Whether a structure's true frame is a finite set; where it is not, what is held here is no frame of it."""
        return ~self.degenerate

    def to_frame(self, values: Tensor, representation: str) -> Tensor:
        """rho(g)^-1 of values, for all elements g, which are the new leading axis.

        Args:
            values: rows of points, or of structures; behind them channels, and at the end the axes of space.
            representation: "scalar", "vector", "matrix" or "position" of points; "structure_vector",
                "structure_matrix" or "structure_position" of structures. Scalars are the same in all frames.

        Raises:
            InputError: another representation, or values of another shape than it says.
        """
        if representation == "scalar":
            return values.expand(len(self), *values.shape)
        rotation, translation, rank = self._of_rows(values, representation)
        if translation is not None:
            values = values - translation
        moved = values.expand(len(self), *values.shape)
        return _turn(moved, rotation.mT, rank)

    def from_frame(self, values: Tensor, representation: str) -> Tensor:
        """rho(g) of values with a leading axis of elements g; the inverse of `to_frame`."""
        if len(values) != len(self):
            raise InputError(f"values: leading axis has {len(values)} entries, the frame has {len(self)} elements")
        if representation == "scalar":
            return values
        rotation, translation, rank = self._of_rows(values[0], representation)
        moved = _turn(values, rotation, rank)
        return moved if translation is None else moved + translation

    def average(self, values: Tensor, representation: str) -> Tensor:
        """Mean over the frame of `from_frame`."""
        return self.from_frame(values, representation).mean(0)

    def sample(self, count: int = 1, *, generator: torch.Generator | None = None) -> EuclideanFrames:
        """Elements drawn at random, independently for every structure; their mean is the average in expectation.

        Args:
            count: elements to draw for every structure, with repetition.
            generator: by default torch's own, as for dropout.

        Raises:
            InputError: a count that is not positive.
        """
        if count < 1:
            raise InputError(f"sample: {count} elements; draw at least 1")
        elements, structures = self.rotation.shape[:2]
        place = generator.device if generator is not None else self.rotation.device
        chosen = torch.randint(elements, (count, structures), generator=generator, device=place)
        every = torch.arange(structures, device=self.rotation.device)
        return replace(self, rotation=self.rotation[chosen.to(self.rotation.device), every])

    def _of_rows(self, values: Tensor, representation: str) -> tuple[Tensor, Tensor | None, int]:
        """Rotations and translations for every row of values, shaped to multiply them, and the axes of space."""
        if representation not in REPRESENTATIONS:
            raise InputError(f"representation: {representation!r} is none; allowed are {', '.join(REPRESENTATIONS)}")
        rank, by_point = REPRESENTATIONS[representation]
        rows = len(self.structure) if by_point else len(self.translation)
        d = self.translation.shape[1]
        if values.ndim < rank + 1 or len(values) != rows or values.shape[-rank:] != (d,) * rank:
            raise InputError(
                f"{representation}: values have shape {tuple(values.shape)}; "
                f"they need {rows} rows and end with {' x '.join([str(d)] * rank)}"
            )
        rotation, translation = self.rotation, self.translation
        if by_point:
            rotation, translation = rotation.index_select(1, self.structure), translation[self.structure]
        channels = (1,) * (values.ndim - 1 - rank)
        rotation = rotation.reshape(len(self), rows, *channels, d, d)
        moves = representation.endswith("position")
        return rotation, translation.reshape(rows, *channels, d) if moves else None, rank


def euclidean_frames(
    positions: Float[Tensor, "points d"],
    structure: Int[Tensor, " points"] | None = None,
    *,
    num_structures: int | None = None,
    group: str = "E",
    weights: Float[Tensor, " points"] | None = None,
    detach: bool = False,
    tolerance: float = 1e-5,
) -> EuclideanFrames:
    """Frames of clouds of any sizes from their centroids and principal axes.

    Args:
        positions: of the points of all clouds.
        structure: number of the cloud of every point; one cloud by default.
        num_structures: how many clouds there are; by default up to the largest number.
        group: "E" (rotations, reflections, translations), "SE" (without reflections), "O" and "SO" (about the origin).
        weights: of the points in centroid and covariance, such as masses; not negative.
        detach: take the frame as a constant in gradients; then derivatives with respect to positions are those at a
            fixed frame, finite for degenerate clouds, but not the gradient of the average.
        tolerance: a cloud is degenerate where two principal moments differ by less than this part of the largest.

    Raises:
        InputError: an unknown group, positions that are not finite, a cloud without points or weight.
    """
    if group not in GROUPS:
        raise InputError(f"group: {group!r} is none; allowed are {', '.join(GROUPS)}")
    if structure is None:
        structure = torch.zeros(len(positions), dtype=torch.long, device=positions.device)
    count = (int(structure.max()) + 1 if len(structure) else 0) if num_structures is None else num_structures
    mass = positions.new_ones(len(positions)) if weights is None else weights
    total = positions.new_zeros(count).index_add(0, structure, mass)
    if not bool(torch.isfinite(positions).all()):
        raise InputError("positions: not all are finite; no frame can be found")
    if bool((mass < 0).any()) or not bool((total > 0).all()):
        raise InputError("euclidean_frames: every structure needs points, and weights that are positive in sum")
    points = positions.detach() if detach else positions

    def mean(values: Tensor) -> Tensor:
        weighed = values * mass.view(-1, *[1] * (values.ndim - 1))
        summed = values.new_zeros(count, *values.shape[1:]).index_add(0, structure, weighed)
        return summed / total.view(-1, *[1] * (values.ndim - 1))

    if group in ("E", "SE"):
        translation = mean(points)
        centred = points - translation[structure]
    else:
        translation, centred = points.new_zeros(count, points.shape[1]), points
    covariance = mean(centred[:, :, None] * centred[:, None, :])
    rotation, degenerate = principal_frames(covariance, proper=group in ("SO", "SE"), tolerance=tolerance)
    return EuclideanFrames(rotation, translation, structure, degenerate)


def principal_frames(
    covariance: Float[Tensor, "structures d d"], *, proper: bool, tolerance: float = 1e-5
) -> tuple[Float[Tensor, "elements structures d d"], Bool[Tensor, " structures"]]:
    """All orthogonal matrices whose columns are eigenvectors of a symmetric matrix, eigenvalues ascending.

    The covariance may come from anything that turns with the cloud, such as the edges of a crystal, which do not depend
    on the image in which an atom is stored.

    Args:
        covariance: symmetric matrices.
        proper: only those with determinant 1, half of them.
        tolerance: two eigenvalues are equal where they differ by less than this part of the largest.

    Returns:
        The matrices, and whether some eigenvalues are equal, so that these are not all; such matrices are constants in
        gradients.

    Warns:
        DegenerateFrameWarning: where that is so.
    """
    values, vectors = torch.linalg.eigh(covariance)
    d = covariance.shape[-1]
    gaps = values.detach().diff(dim=-1)
    largest = values.detach().abs().amax(-1, keepdim=True)
    degenerate = (gaps <= tolerance * largest).any(-1)
    if bool(degenerate.any()):
        warnings.warn(
            f"{int(degenerate.sum())} of {len(degenerate)} structures have equal principal moments within {tolerance}: "
            "their axes are not unique, and the average over these frames is not equivariant",
            DegenerateFrameWarning,
            stacklevel=3,
        )
        # the derivative of axes that are not unique is no number: they are constants
        apart = torch.arange(1, d + 1, dtype=covariance.dtype, device=covariance.device).diag()
        regular = torch.linalg.eigh(torch.where(degenerate[:, None, None], apart, covariance)).eigenvectors
        vectors = torch.where(degenerate[:, None, None], vectors.detach(), regular)
    signs = vectors.new_tensor(list(product((1.0, -1.0), repeat=d - 1 if proper else d)))
    if not proper:
        return vectors * signs[:, None, None, :], degenerate
    hand = torch.linalg.det(vectors.detach()).sign()  # of the axes as the routine gave them
    last = hand * signs.prod(1, keepdim=True)
    every = signs[:, None, :].expand(-1, len(values), -1)
    return vectors * torch.cat([every, last[..., None]], dim=-1)[:, :, None, :], degenerate


def _turn(values: Tensor, rotation: Tensor, rank: int) -> Tensor:
    """R y, or R y R^T."""
    if rank == 1:
        return (rotation @ values[..., None])[..., 0]
    return rotation @ values @ rotation.mT
