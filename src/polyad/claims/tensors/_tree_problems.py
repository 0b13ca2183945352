"""Linear problems with known answers for integrators on trees: a spin chain, and transport with uncertain data.

All are Y' = A Y with A as a `TreeOperator`; the exact solution is a matrix exponential.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy
import scipy.sparse
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.tensors.formats import TreeTensorNetwork
from polyad.tensors.formats.tree_layout import Tree, largest_ranks, layout
from polyad.tensors.tree_integrators import TreeOperator, pair_operator, product_operator

_FLIP = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
_UP = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)


@final
@dataclass(frozen=True, eq=False)
class LinearProblem:
    """Y' = operator Y from `start`; `matrix` is the operator as a sparse matrix, the last mode fastest."""

    operator: TreeOperator
    start: TreeTensorNetwork
    matrix: scipy.sparse.csr_array


def spin_chain(
    tree: Tree,
    order: int,
    *,
    nu: float = 2.0,
    delta: float = 1.0,
    omega: float = 1.0,
    alpha: float = 1.0,
    rank: int = 2,
) -> LinearProblem:
    """i psi' = H psi, H = omega sum sigma_x + delta sum n_i + nu sum_{i<j} n_i n_j / |i-j|^alpha, from all spins up.

    The start is padded to `rank` 2 by the state with all spins down in every subtree, with weight zero.
    """
    sites = torch.arange(order, dtype=torch.float64)
    distance = (sites[:, None] - sites).abs().fill_diagonal_(torch.inf)
    strengths = nu / distance**alpha
    local = (omega * _FLIP + delta * _UP).repeat(order, 1, 1)
    energy = pair_operator(tree, local, _UP.repeat(order, 1, 1), strengths)
    return LinearProblem(energy.scale(-1j), _all_up(tree, order, rank), -1j * _sparse_chain(omega, delta, strengths))


def radiative_transfer(*, cells: int = 24, moments: int = 6, points: int = 4) -> LinearProblem:
    """P_N moments of a gas of photons on a line whose scattering is uncertain; tree ((space, angle), random variable).

    u_t + A u_x = -(1 + 0.9 xi) G u on [-1.5, 1.5], xi uniform in [-1, 1], upwind differences; from a Gauss pulse.
    """
    central, second = _differences(cells, 3.0 / cells)
    degree = torch.arange(moments - 1, dtype=torch.float64)
    off = (degree + 1) / ((2 * degree + 1) * (2 * degree + 3)).sqrt()
    flux = torch.diag(off, 1) + torch.diag(off, -1)
    speeds, vectors = torch.linalg.eigh(flux)
    absolute = vectors @ torch.diag(speeds.abs()) @ vectors.mT
    scattering = torch.eye(moments, dtype=torch.float64)
    scattering[0, 0] = 0
    one, angles, noise = (torch.eye(n, dtype=torch.float64) for n in (cells, moments, points))
    xi = torch.as_tensor(numpy.polynomial.legendre.leggauss(points)[0])
    products = [
        (-central, flux, noise),
        (second, absolute, noise),
        (-one, scattering, noise),
        (-0.9 * one, scattering, torch.diag(xi)),
    ]
    isotropic = angles[0]
    return _linear(((0, 1), 2), products, [_pulse(cells), isotropic, torch.ones(points, dtype=torch.float64)])


def kinetic(*, cells: int = 20, ordinates: int = 6, points: int = 4) -> LinearProblem:
    """A linear Boltzmann equation in discrete ordinates with two random variables.

    f_t + mu f_x = (2 + xi_1) (mean f - f) - (1 + xi_2 / 2) s(x) f on [-1.5, 1.5], an absorber s in the middle; tree
    ((space, angle), (xi_1, xi_2)); from a Gauss pulse that is the same for all angles.
    """
    width = 3.0 / cells
    central, second = _differences(cells, width)
    speeds, weights = (torch.as_tensor(item) for item in numpy.polynomial.legendre.leggauss(ordinates))
    relax = weights.expand(ordinates, ordinates) / 2 - torch.eye(ordinates, dtype=torch.float64)
    one, angles, noise = (torch.eye(n, dtype=torch.float64) for n in (cells, ordinates, points))
    xi = torch.diag(torch.as_tensor(numpy.polynomial.legendre.leggauss(points)[0]))
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5) * width - 1.5
    absorber = torch.diag((centres.abs() < 0.4).to(torch.float64))
    products = [
        (-central, torch.diag(speeds), noise, noise),
        (second, torch.diag(speeds.abs()), noise, noise),
        (one, relax, 2 * noise + xi, noise),
        (-absorber, angles, noise, noise + xi / 2),
    ]
    flat = torch.ones(points, dtype=torch.float64)
    return _linear(((0, 1), (2, 3)), products, [_pulse(cells), torch.ones(ordinates, dtype=torch.float64), flat, flat])


def _differences(cells: int, width: float) -> tuple[Tensor, Tensor]:
    """Central first difference, and the second one that makes it an upwind difference."""
    ones = torch.ones(cells - 1, dtype=torch.float64) / (2 * width)
    central = torch.diag(ones, 1) - torch.diag(ones, -1)
    second = torch.diag(ones, 1) + torch.diag(ones, -1) - torch.eye(cells, dtype=torch.float64) / width
    return central, second


def _pulse(cells: int) -> Tensor:
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5) * 3.0 / cells - 1.5
    return torch.exp(-(centres**2) / (2 * 0.3**2))


def _linear(tree: Tree, products: Sequence[tuple[Tensor, ...]], vectors: list[Tensor]) -> LinearProblem:
    """The start has norm 1."""
    inner = [node for node in layout(tree) if node.mode is None]
    factors = tuple((vector / vector.norm())[:, None] for vector in vectors)
    cores = tuple(factors[0].new_ones([1] * (len(node.children) + 1)) for node in inner)
    matrix = sum(_kronecker([scipy.sparse.csr_array(item.numpy()) for item in term]) for term in products)
    return LinearProblem(product_operator(tree, products), TreeTensorNetwork(tree, factors, cores), matrix)


def _all_up(tree: Tree, order: int, rank: int) -> TreeTensorNetwork:
    nodes = layout(tree)
    ranks = [min(rank, largest, 2) for largest in largest_ranks(nodes, [2] * order)] + [1]
    factor = torch.eye(2, dtype=torch.complex128)
    cores = []
    for place, node in enumerate(nodes):
        if node.mode is None:
            core = factor.new_zeros([ranks[child] for child in node.children] + [ranks[place]])
            for state in range(ranks[place]):
                core[(state,) * core.ndim] = 1
            cores.append(core)
    return TreeTensorNetwork(tree, (factor[:, : ranks[0]],) * order, tuple(cores))


def _sparse_chain(omega: float, delta: float, strengths: Float[Tensor, "d d"]) -> scipy.sparse.csr_array:
    order = strengths.shape[0]
    states = numpy.arange(2**order)
    up = 1 - ((states[:, None] >> numpy.arange(order - 1, -1, -1)) & 1)  # site 0 is the slowest bit; 0 is up
    energy = delta * up.sum(1) + numpy.einsum("si,ij,sj->s", up, strengths.numpy(), up) / 2
    flips = [
        scipy.sparse.csr_array((numpy.full(2**order, omega), (states, states ^ (1 << site)))) for site in range(order)
    ]
    return scipy.sparse.csr_array(scipy.sparse.diags_array(energy) + sum(flips))


def _kronecker(factors: list[scipy.sparse.csr_array]) -> scipy.sparse.csr_array:
    total = factors[0]
    for factor in factors[1:]:
        total = scipy.sparse.kron(total, factor, format="csr")
    return scipy.sparse.csr_array(total)
