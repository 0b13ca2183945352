"""torch.compile takes the kernels whole, without a break in the graph, and the numbers stay."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import torch
from polyad.symmetry.activations import Gate, SphereActivation
from polyad.symmetry.contraction import SymmetricContraction
from polyad.symmetry.gaunt import gaunt_product
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.linear import DegreeLinear, EquivariantLinear
from polyad.symmetry.so2 import EdgeFrames, SO2Convolution
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from polyad.symmetry.tensor_product import DepthwiseTensorProduct
from polyad.symmetry.wigner import rotate
from polyad.tensors.rotations import random_rotations

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
vectors = torch.randn(6, 3, generator=generator)
features = torch.randn(6, 4, 16, generator=generator)
turns = random_rotations(6, generator=generator, dtype=torch.float32)
convolution = SO2Convolution(4, 4, 3, mmax=2, generator=generator)
mixing = EquivariantLinear("4x0e+4x1o", "6x0e+2x1o", generator=generator)
degrees, sphere, gate = DegreeLinear(4, 4, 3, generator=generator), SphereActivation(3, degree=9), Gate("2x0e", "2x1o")
product = DepthwiseTensorProduct("4x0e+4x1o", Irreps.spherical(3))
weights = torch.randn(6, *product.weight_shape, generator=generator)


def kernels(vectors, features, turns):
    harmonics = spherical_harmonics(vectors, 3, normalization="component")
    frames = EdgeFrames.from_directions(vectors, 3, mmax=2, check=False)
    message = sphere(degrees(convolution(rotate(features, turns, check=False), frames)))
    square = gaunt_product([message, message], 3)
    flat = product(features.flatten(1)[:, :16], harmonics, weights)
    mixed = gate(mixing(flat[:, :16])[:, :10])
    return square.sum() + flat.square().sum() + mixed.sum()


whole = torch.compile(kernels, fullgraph=True, backend="eager")
for function in (kernels, whole):
    vectors.grad = None
    vectors.requires_grad_()
    value = function(vectors, features, turns)
    value.backward()
    print(f"{float(value):.5e} {float(vectors.grad.norm()):.5e}")

contraction = SymmetricContraction(3, "0e+1o", channels=4, species=2, generator=generator)
species = torch.tensor([0, 1, 0, 0, 1, 1])
compiled = torch.compile(contraction, backend="eager")  # sorting by species breaks the graph, no more
for function in (contraction, compiled):
    value = function(features, species).square().sum()
    print(f"{float(value):.5e}")
"""


def test_whole_graphs() -> None:
    # a process of its own: under pytest the checks of annotations wrap every function
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    eager, whole, contraction, compiled = run.stdout.strip().splitlines()
    for one, two in ((eager, whole), (contraction, compiled)):
        for first, second in zip(one.split(), two.split(), strict=True):
            assert abs(float(first) / float(second) - 1) < 1e-4
