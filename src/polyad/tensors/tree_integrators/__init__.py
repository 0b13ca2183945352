"""Time integrators on tree tensor networks: large differential equations in low rank, ranks chosen as they go.

Y' = F(t, Y) for a tensor Y(t) of many modes is followed on the set of tree tensor networks. A step updates the bases of
all nodes and the tensors between them, each by its own small differential equation (the field restricted to one node,
all others orthonormal), then truncates. None divides by a singular value: errors do not depend on how small they are.

* `ParallelBUG`: all small equations of a step at once, cores of size r^m (`parallel_bug`);
* `SequentialBUG`: cores after their children in bases of size 2r, or at fixed rank (`sequential_bug`);
* `ProjectorSplitting`: forward and backward sub-flows, fixed ranks; Tucker, trains and trees (`projector_splitting`);
* `matrix_parallel_bug`: the two-leaf case without trees (`matrix`);
* `integrate`: steps over an interval, with a history (`stepping`);
* `TreeOperator`, `product_operator`, `pair_operator`: linear operators on the tree (`operators`); any other F is a
  function of time and network;
* `Work`: counted flops and the critical path (`work`); sub-flows run side by side in any `concurrent.futures.Executor`.

Source: G. Ceruti, J. Kusch, C. Lubich, D. Sulz, *A parallel Basis Update and Galerkin Integrator for Tree Tensor
Networks*, arXiv:2412.00858 (2024); the others are named in their modules.

Deviations:

* With the centre moved to a node, its equation is the same whether F is restricted level by level or at once, so cores
  inside of subtrees are as independent as leaves: all nodes, not only subtrees of the root, run side by side.
* Truncation goes from the leaves to the root in the metric of what lies outside, with one (absolute) tolerance for the
  whole tree; the paper's goes from the root to the leaves with a tolerance a node.
* The estimate behind step rejection is the largest over all inner nodes; rejection is off unless asked for.
* RK4 sub-steps keep h |J| <= 1/4, not 2: that is stable, but leaves an error that no shorter step takes away.
* Fresh directions come from an SVD of what two projections leave, cut at rounding, in place of a QR.
* Published errors of the spin chain (paddings of a rank-two start differ between implementations, and errors with
  them): with all spins down as the second state of every subtree, they agree within 6 %. At d = 4, h = 2^-8 and tol
  1e-8 the truncation shows in 'F0' (4.8e-4); the tabulated 3.1e-4 appears for tol <= 1e-9.
* Second order on the spin chain needs bases that fill up, as those of balanced trees of few spins do. On a chain tree
  of spins the order is one, and 'F0' is 10 to 20 times less accurate than 'K'.
* Independence of small singular values holds within 10 % for 'F0' (0.3 % for 'K') for Y' = W_1 Y + Y W_2^T; for A'(t)
  as F, 'F0' varies by up to a quarter, without growth.

When not to use it: solutions whose ranks grow without bound (long times after a quench); stiff fields, which want an
implicit solver for the sub-flows.
"""

from polyad.tensors.tree_integrators.fields import Field, FunctionField, OperatorField
from polyad.tensors.tree_integrators.matrix import MatrixFactors, matrix_parallel_bug
from polyad.tensors.tree_integrators.operators import TreeOperator, pair_operator, product_operator
from polyad.tensors.tree_integrators.parallel_bug import ParallelBUG
from polyad.tensors.tree_integrators.projector_splitting import ProjectorSplitting
from polyad.tensors.tree_integrators.sequential_bug import SequentialBUG
from polyad.tensors.tree_integrators.stepping import Step, Trajectory, integrate
from polyad.tensors.tree_integrators.work import FlopCount, Work

__all__ = [
    "Field",
    "FlopCount",
    "FunctionField",
    "MatrixFactors",
    "OperatorField",
    "ParallelBUG",
    "ProjectorSplitting",
    "SequentialBUG",
    "Step",
    "Trajectory",
    "TreeOperator",
    "Work",
    "integrate",
    "matrix_parallel_bug",
    "pair_operator",
    "product_operator",
]
