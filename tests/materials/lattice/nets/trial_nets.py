"""A cheap generator of nets and a run of `generate` to be killed, both importable by worker processes."""

import resource
import signal
import time

import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice import StrutLattice
from polyad.materials.lattice.dataset import Recipe, generate
from polyad.materials.lattice.records import LatticeRecord
from tests.materials.lattice.seeds import random_net

GENERATOR = "tests.materials.lattice.nets.trial_nets:draw"


def draw(*, seed):
    lattice = random_net(seed % 2**32, nodes=4 + seed % 5, extra=4, radius=0.001)
    return LatticeRecord(
        name="trial",
        lattice=lattice,
        density=float(lattice.relative_density),
        base_name=f"base_{seed % 1000}",
        source="trial_nets",
        metadata={"kind": "trial"},
    )


def draw_impossible(*, seed):
    """A net with one strut a thousand times shorter than the others."""
    positions = [[0.0, 0.0, 0.0], [0.001, 0.0, 0.0]]
    shift = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    lattice = StrutLattice(np.eye(3), positions, [[0, 1, 0, 0], [1, 0, 0, 0]], shift, 1e-6)
    return LatticeRecord(name="short", lattice=lattice, density=1e-9)


def run(folder, recipe: Recipe, pause: float):
    """Generate, resting after every shard so that a kill can come at any moment."""
    generate(folder, recipe, progress=lambda done, total: time.sleep(pause))


def on_full_disk(function, arguments, largest_file: int, answer):
    """Call a function where the kernel lets no file grow beyond some bytes, and send the text of its InputError."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    try:
        function(*arguments)
    except InputError as error:
        answer.send(str(error))
