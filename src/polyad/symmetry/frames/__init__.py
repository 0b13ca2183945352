"""Frame averaging: symmetry from outside, for networks that have none.

`euclidean_frames` and `permutation_frames` find the few group elements that an average needs, `frame_average` takes it
over any network, and `graph_networks`, `point_networks` and `message_passing` are networks made so.

Source: O. Puny, M. Atzmon, E. Smith, I. Misra, A. Grover, H. Ben-Hamu and Y. Lipman, Frame Averaging for Invariant and
Equivariant Network Design, ICLR 2022, arXiv:2110.03336.
"""

from polyad.symmetry.frames.averaging import FrameAverage, Frames, frame_average
from polyad.symmetry.frames.euclidean import (
    DegenerateFrameWarning,
    EuclideanFrames,
    euclidean_frames,
    principal_frames,
)
from polyad.symmetry.frames.graph_networks import GraphIsomorphismNetwork, GraphPerceptron, fa_gnn, fa_mlp
from polyad.symmetry.frames.message_passing import FAMessagePassing
from polyad.symmetry.frames.permutation import PermutationFrames, frame_sizes, permutation_frames, symmetric_group
from polyad.symmetry.frames.point_networks import DGCNN, PointNet, fa_dgcnn, fa_point_net

__all__ = [
    "DGCNN",
    "DegenerateFrameWarning",
    "EuclideanFrames",
    "FAMessagePassing",
    "FrameAverage",
    "Frames",
    "GraphIsomorphismNetwork",
    "GraphPerceptron",
    "PermutationFrames",
    "PointNet",
    "euclidean_frames",
    "fa_dgcnn",
    "fa_gnn",
    "fa_mlp",
    "fa_point_net",
    "frame_average",
    "frame_sizes",
    "permutation_frames",
    "principal_frames",
    "symmetric_group",
]
