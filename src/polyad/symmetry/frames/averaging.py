"""Frame averaging: any function made invariant or equivariant by a mean over a few group elements.

    <Phi>(X) = 1 / |F(X)| sum over g in F(X) of rho_out(g) Phi(rho_in(g)^-1 X),        F(g X) = g F(X)

The mean is equivariant whatever Phi is, and equals Phi where Phi is equivariant already, so nothing that Phi could
express is lost. With F(X) = the whole group it is the group average.

    model = frame_average(
        network,
        lambda positions, charges: euclidean_frames(positions, group="E"),
        rep_in=("position", "scalar"),
        rep_out="vector",
    )

Source: O. Puny et al., ICLR 2022, arXiv:2110.03336, equations 3 and 4.

*When not to use it*: where the frame is huge (graphs with many nodes alike) or not unique (degenerate clouds); and for
forces along trajectories across degenerate shapes, at which the average jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, final

import torch
from torch import Tensor, nn

from polyad.errors import InputError

Own = TypeVar("Own", bound="Frames")


class Frames(Protocol):
    """Group elements of a batch of inputs; `EuclideanFrames` and `PermutationFrames` are such."""

    def to_frame(self, values: Tensor, representation: str) -> Tensor:
        """rho(g)^-1 of values for every element g, with the elements as leading axis."""

    def average(self, values: Tensor, representation: str) -> Tensor:
        """Mean of rho(g) of values whose leading axis are the elements."""

    def sample(self: Own, count: int = 1, *, generator: torch.Generator | None = None) -> Own:
        """Elements drawn at random, whose average is unbiased."""


@final
class FrameAverage(nn.Module):
    """A network averaged over a frame; see `frame_average`."""

    def __init__(
        self,
        backbone: Callable[..., Any],
        frame: Callable[..., Frames],
        rep_in: Sequence[str | None],
        rep_out: str | Sequence[str],
        *,
        samples: int | None = None,
        together: bool = False,
    ) -> None:
        super().__init__()
        if samples is not None and samples < 1:
            raise InputError(f"samples: {samples} was given; draw at least 1, or None for the full frame")
        if isinstance(rep_in, str):
            raise InputError(f"rep_in: {rep_in!r} was given; give one representation, or None, for each input")
        self.backbone, self.frame = backbone, frame
        self.rep_in, self.rep_out = tuple(rep_in), rep_out if isinstance(rep_out, str) else tuple(rep_out)
        self.samples, self.together = samples, together

    def forward(self, *inputs: Any) -> Any:
        """The average for these inputs: sampled in training mode if so asked for, otherwise full.

        Raises:
            InputError: another number of inputs or outputs than of representations.
        """
        if len(inputs) != len(self.rep_in):
            raise InputError(f"{len(inputs)} inputs were given; rep_in has {len(self.rep_in)} entries")
        frames = self.frame(*inputs)
        if self.training and self.samples is not None:
            frames = frames.sample(self.samples)
        moved = [x if rep is None else frames.to_frame(x, rep) for x, rep in zip(inputs, self.rep_in, strict=True)]
        outputs = self.backbone(*moved) if self.together else self._apart(moved)
        if isinstance(self.rep_out, str):
            return frames.average(outputs, self.rep_out)
        if len(outputs) != len(self.rep_out):
            raise InputError(f"the backbone gave {len(outputs)} outputs; rep_out has {len(self.rep_out)} entries")
        return tuple(frames.average(y, rep) for y, rep in zip(outputs, self.rep_out, strict=True))

    def _apart(self, moved: list[Any]) -> Any:
        """The backbone's outputs for one element after the other, stacked."""
        counts = {len(x) for x, rep in zip(moved, self.rep_in, strict=True) if rep is not None}
        if len(counts) != 1:
            raise InputError("rep_in: give at least one input a representation")
        found = [
            self.backbone(*(x if rep is None else x[k] for x, rep in zip(moved, self.rep_in, strict=True)))
            for k in range(counts.pop())
        ]
        if isinstance(self.rep_out, str):
            return torch.stack(found)
        return tuple(torch.stack(values) for values in zip(*found, strict=True))


def frame_average(
    backbone: Callable[..., Any],
    frame: Callable[..., Frames],
    rep_in: Sequence[str | None],
    rep_out: str | Sequence[str],
    *,
    samples: int | None = None,
    together: bool = False,
) -> FrameAverage:
    """Make a network equivariant by averaging it over a frame of its input.

    Args:
        backbone: any module or function of tensors.
        frame: takes the inputs and gives their frame; the group, the degeneracy tolerance and whether gradients flow
            through it are decided there.
        rep_in: how each input changes under the group, by a name that the frame knows; None for one that does not and
            is handed on as it is, such as indices.
        rep_out: the same for the output, or for each of a tuple of outputs.
        samples: in training mode draw this many elements instead of the full average: the cost of one pass each, with
            the average as expectation. In evaluation mode the average is always full.
        together: hand all elements at once, as a leading axis, to a backbone that works along leading axes; otherwise
            the backbone sees one after the other, without that axis.

    Returns:
        A module with the same inputs.
    """
    return FrameAverage(backbone, frame, rep_in, rep_out, samples=samples, together=together)
