"""Frame averaging: symmetry from outside, for networks that have none.

`euclidean_frames` and `permutation_frames` find the few group elements that an average needs, `frame_average` takes it
over any network, and `graph_networks`, `point_networks` and `message_passing` are networks made so. `frames_3d` has the
frames of molecules, crystals and slabs, and `FrameAveraged` averages networks on their graphs, or draws one element.

Sources: O. Puny, M. Atzmon, E. Smith, I. Misra, A. Grover, H. Ben-Hamu and Y. Lipman, Frame Averaging for Invariant and
Equivariant Network Design, ICLR 2022, arXiv:2110.03336; A. Duval et al., FAENet, ICML 2023, arXiv:2305.05577.
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
from polyad.symmetry.frames.space import edge_covariance, frames_3d, random_axes
from polyad.symmetry.frames.structures import FrameAveraged, turned

__all__ = [
    "DGCNN",
    "DegenerateFrameWarning",
    "EuclideanFrames",
    "FAMessagePassing",
    "FrameAverage",
    "FrameAveraged",
    "Frames",
    "GraphIsomorphismNetwork",
    "GraphPerceptron",
    "PermutationFrames",
    "PointNet",
    "edge_covariance",
    "euclidean_frames",
    "fa_dgcnn",
    "fa_gnn",
    "fa_mlp",
    "fa_point_net",
    "frame_average",
    "frame_sizes",
    "frames_3d",
    "permutation_frames",
    "principal_frames",
    "random_axes",
    "symmetric_group",
    "turned",
]
