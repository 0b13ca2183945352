"""Random nets: connected, three-periodic, clear of crossings, and as symmetric as their group."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.graphs.periodic import periodic_components
from polyad.materials.lattice import effective_stiffness
from polyad.materials.lattice.nets.contacts import strut_contacts
from polyad.materials.lattice.nets.random_nets import random_net


@pytest.mark.parametrize("seed", range(25))
def test_nets_hold_together(seed):
    net = random_net(seed, density=1e-5)
    found = periodic_components(net.num_nodes, net.edge_index, net.edge_shift)
    assert found.dimension.tolist() == [3]
    assert round(abs(float(torch.linalg.det(found.directions[0])))) == 1
    assert int(net.coordination.min()) >= 2
    assert net.num_nodes <= 48
    assert float(net.relative_density) == pytest.approx(1e-5)
    spacing = float(torch.pow(net.volume / net.num_nodes, 1 / 3))
    assert len(strut_contacts(net, 0.119 * spacing)) == 0


@pytest.mark.parametrize(
    ("group", "equal"), [("Pm-3m", "cubic"), ("I213", "cubic"), ("P6/mmm", "hexagonal"), ("R-3c:H", "trigonal")]
)
def test_stiffness_has_the_symmetry_of_the_group(group, equal):
    """Cubic: 3 moduli. Axial groups: transverse isotropy in the plane, with the trigonal coupling where it may be."""
    stiffness = effective_stiffness(random_net(11, group=group, density=1e-3))
    scale = float(stiffness.abs().max())

    def same(*entries):
        values = [float(stiffness[entry]) for entry in entries]
        assert max(values) - min(values) < 1e-9 * scale

    same((0, 0), (1, 1))
    same((3, 3), (4, 4))
    same((0, 2), (1, 2))
    if equal == "cubic":
        same((0, 0), (2, 2))
        same((3, 3), (5, 5))
        assert float(stiffness[:3, 3:].abs().max()) < 1e-9 * scale
    else:
        assert float(stiffness[5, 5]) == pytest.approx(float(stiffness[0, 0] - stiffness[0, 1]), abs=1e-9 * scale)
    if equal == "hexagonal":
        assert float(stiffness[:3, 3:].abs().max()) < 1e-9 * scale


def test_seed_decides_and_groups_vary():
    assert torch.equal(random_net(3, density=1e-5).positions, random_net(3, density=1e-5).positions)
    sizes = {(random_net(s, density=1e-5).num_nodes, random_net(s, density=1e-5).num_edges) for s in range(25)}
    assert len(sizes) > 15


def test_refused():
    with pytest.raises(InputError, match="maximum_nodes"):
        random_net(0, maximum_nodes=0)
    with pytest.raises(InputError, match="unknown"):
        random_net(0, group="nonsense")
    with pytest.raises(InputError, match="500 attempts"):
        random_net(0, group="P212121", maximum_nodes=3)
    assert random_net(0, maximum_nodes=2, density=1e-5).num_nodes <= 2
