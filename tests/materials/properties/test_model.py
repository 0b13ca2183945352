"""Units, density and graph of a property model; what does not fit is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.lattice import LatticeBatch
from polyad.materials.properties.model import PropertyModel, strut_density
from polyad.materials.properties.targets import TARGETS, PropertyTarget
from polyad.materials.structures import Structures
from polyad.symmetry.irreps import Irreps
from tests.materials.properties.lattices import batch_of, cells


class Fixed(nn.Module):
    """Gives every structure the same features, and remembers the graph."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = nn.Parameter(features)
        self.graph: PointGraph | None = None

    def forward(self, graph: PointGraph) -> Tensor:
        self.graph = graph
        return self.features.expand(graph.num_structures, -1)


def features(number: int) -> Tensor:
    return torch.randn(number, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_density_is_the_lattices_own() -> None:
    lattices = cells()
    expected = LatticeBatch.from_lattices(lattices).relative_density
    assert torch.allclose(strut_density(batch_of(lattices)), expected, rtol=1e-12)


def test_stiffness_is_scale_times_density_times_square() -> None:
    target, data = TARGETS["elasticity"], batch_of(cells())
    network = Fixed(features(21))
    model = PropertyModel(network, target, species=[0], cutoff=1.0, struts=True, positivity="square", scale=0.5)
    matrix = target.to_array(network.features.detach())
    expected = 0.5 * strut_density(data)[:, None, None] * (matrix @ matrix)
    assert torch.allclose(model.double()(data).detach(), expected, rtol=1e-7)
    assert network.graph is not None
    assert torch.equal(network.graph.edge_scalars[:, 0], data.edge_features["radius"])


def test_scalars_are_shifted_and_atoms_get_neighbours() -> None:
    data = Structures.from_arrays(torch.eye(3, dtype=torch.float64), [6, 1, 6])
    network = Fixed(features(1))
    model = PropertyModel(network, PropertyTarget("gap"), species=[1, 6], cutoff=2.0, scale=3.0, shift=10.0)
    assert float(model(data).detach()) == pytest.approx(10 + 3 * float(network.features.detach()))
    graph = network.graph
    assert graph is not None
    assert graph.kind.tolist() == [1, 0, 1]
    assert graph.edge_index.shape[1] == 6
    assert graph.edge_scalars.shape == (6, 0)


def test_what_does_not_fit_is_refused() -> None:
    target, network = TARGETS["elasticity"], Fixed(features(21))
    lattices, atoms = batch_of(cells()), Structures.from_arrays(torch.eye(3, dtype=torch.float64), [6, 1, 6])
    with pytest.raises(InputError, match="give lattices"):
        PropertyModel(network, target, species=[1, 6], cutoff=1.0, struts=True)(atoms)
    with pytest.raises(InputError, match=r"\[0\] are unknown to this model"):
        PropertyModel(network, target, species=[1, 6], cutoff=1.0, struts=True)(lattices)
    with pytest.raises(InputError, match=r"gave shape \(3, 5\), elasticity of 3 structures needs \(3, 21\)"):
        PropertyModel(Fixed(features(5)), target, species=[0], cutoff=1.0, struts=True)(lattices)
    with pytest.raises(InputError, match="only 'none' fits"):
        PropertyModel(network, TARGETS["piezoelectric"], species=[0], cutoff=1.0, positivity="exp")
    for species in ([], [1, 1]):
        with pytest.raises(InputError, match="different atomic numbers"):
            PropertyModel(network, target, species=species, cutoff=1.0)


def test_lattices_come_back_from_structures() -> None:
    lattices = cells()
    back = batch_of(lattices).to_lattices()
    for own, found in zip(lattices, (back[k] for k in range(len(back))), strict=True):
        for name in ("cell", "positions", "edge_index", "edge_shift", "radius"):
            assert torch.equal(getattr(own, name), getattr(found, name))
    assert all(low < high for low, high in pairwise(back.edge_start.tolist()))
    with pytest.raises(InputError, match="made of lattices"):
        Structures.from_arrays(torch.eye(3, dtype=torch.float64), [6, 1, 6]).to_lattices()


def test_irreps_of_a_scalar() -> None:
    assert PropertyTarget("gap").irreps == Irreps("0e")
