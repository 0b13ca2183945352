"""The nested matrix-tensor model of multi-view clustering: what tensor and unfolding methods find, and how well.

A spiked matrix M = beta_M x y^T + Z / sqrt(n1 + n2) is seen through n3 noisy views,

    T = beta_T M (x) z + W / sqrt(n1 + n2 + n3),      unit vectors x, y, z, independent standard normal noise Z, W

and y (labels, up to scale and sign) is asked for. `model` draws it, `estimators` holds the best rank-one approximation
of T, the leading vectors of its unfoldings and the oracle that knows z. In the limit of large n with fixed
c_l = n_l / (n1 + n2 + n3) their alignments with the truth have closed forms: `unfolding` for the unfoldings (spectrum,
spike, alignment, the algorithmic threshold), `rank_one` for the tensor estimator (the information side), `clustering`
for accuracies and the phase diagram.

Source: H. Lebeau, M. E. A. Seddik, J. H. de M. Goulart, *Performance Gaps in Multi-view Clustering under the Nested
Matrix-Tensor Model*, ICLR 2024, arXiv:2402.10677.

Deviations: the noise is scaled as above throughout; with unscaled noise every predictor is wrong. The vertical part of
the algorithmic threshold is beta_M^4 = c1 c2 / (1 - c3)^2, the square that makes the alignment vanish. Next to the bulk
the fixed point of the rank-one estimator is finished by Newton's method, without which its last roots are missed: at
c = (150, 300, 60) / 510 and |h| = 0.5 the threshold is |mu| = 1.984, and |mu| = 2 has a root of accuracy 0.716. Where
the equation has no root that counts, the alignments are zero.

When not to use it: for clusters of unequal covariance, more than two clusters, or n too small for the limit (a few
hundred in all shows thresholds smeared over a tenth or more of the signal strength).
"""

from polyad.tensors.spiked.clustering import (
    PhaseDiagram,
    clustering_accuracy,
    oracle_alignment,
    phase_diagram,
    predicted_accuracy,
    tensor_threshold,
    unfolding_threshold,
)
from polyad.tensors.spiked.estimators import RankOne, best_rank_one, oracle_direction, unfolding_direction
from polyad.tensors.spiked.model import NestedMatrixTensor, NestedSample
from polyad.tensors.spiked.rank_one import RankOneLimit, rank_one_limit
from polyad.tensors.spiked.unfolding import (
    SpikeLimit,
    centred_gram,
    second_unfolding_density,
    second_unfolding_limit,
    stieltjes_transform,
    third_unfolding_limit,
)

__all__ = [
    "NestedMatrixTensor",
    "NestedSample",
    "PhaseDiagram",
    "RankOne",
    "RankOneLimit",
    "SpikeLimit",
    "best_rank_one",
    "centred_gram",
    "clustering_accuracy",
    "oracle_alignment",
    "oracle_direction",
    "phase_diagram",
    "predicted_accuracy",
    "rank_one_limit",
    "second_unfolding_density",
    "second_unfolding_limit",
    "stieltjes_transform",
    "tensor_threshold",
    "third_unfolding_limit",
    "unfolding_direction",
    "unfolding_threshold",
]
