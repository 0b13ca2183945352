"""What a generated data set is made of: its parameters, and the rule from a row's number to its seeds.

Row i is variant i mod v of base net i // v, where the v variants of a net are all densities at every level of
perturbation, densities running fastest. Seeds are hashes of the data set's seed and the net's number, so a row depends
on nothing but the recipe and its own number: not on workers, shards, order or the number of rows.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, final

from polyad import __version__
from polyad.errors import InputError
from polyad.materials.lattice.nets.generators import random_lattice
from polyad.materials.lattice.records import LatticeRecord

KINDS = ("all", "named", "nets", "foams")
"""What `random_lattice` makes: a mix, named cells with random parameters, nets with a space group, foams."""

NetGenerator = Callable[..., LatticeRecord]
"""Called as generator(seed=...); returns a cell whose radii are scaled to every density of the recipe."""

DENSITIES = (0.003, 0.01, 0.03)
LEVELS = (0.0, 0.05, 0.1)


@final
@dataclass(frozen=True)
class Recipe:
    """Parameters of a generated data set; two data sets with equal recipes have equal rows.

    Args:
        count: number of rows.
        seed: of the whole data set.
        generator: of the base nets: one of `KINDS`, or "module:function" for one of your own, called with `seed`.
        densities: relative densities of every cell; those of one net are lowered by one factor where need be.
        levels: displacements of the nodes, in random directions, in units of the base net's mean strut length.
        slenderness: largest radius over length of any strut.
        young_modulus: of the solid.
        poisson_ratio: of the solid.
        shear: Timoshenko beams; False for Euler-Bernoulli beams.
        shard_size: rows a file.

    Raises:
        InputError: a parameter out of range.
    """

    count: int
    seed: int
    generator: str = "all"
    densities: Sequence[float] = DENSITIES
    levels: Sequence[float] = LEVELS
    slenderness: float = 0.2
    young_modulus: float = 1.0
    poisson_ratio: float = 0.3
    shear: bool = True
    shard_size: int = 2000

    def __post_init__(self) -> None:
        object.__setattr__(self, "densities", tuple(float(x) for x in self.densities))
        object.__setattr__(self, "levels", tuple(float(x) for x in self.levels))
        for name in ("count", "shard_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; give at least 1")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}; give a whole number from 0 to 2**63 - 1")
        if not self.densities or not all(math.isfinite(d) and 0 < d < 1 for d in self.densities):
            raise InputError(f"densities are {list(self.densities)}; give numbers between 0 and 1, usually below 0.1")
        if not self.levels or not all(math.isfinite(x) and 0 <= x < 1 for x in self.levels):
            raise InputError(f"levels are {list(self.levels)}; give numbers from 0 to below 1, usually below 0.2")
        for name in ("densities", "levels"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise InputError(f"{name} are {list(getattr(self, name))}; give every number once")
        if not 0 < self.slenderness <= 0.5:
            raise InputError(f"slenderness is {self.slenderness}; it must lie in (0, 0.5], usually about 0.2")
        if not (math.isfinite(self.young_modulus) and self.young_modulus > 0):
            raise InputError(f"young_modulus is {self.young_modulus}; it must be positive")
        if not -1 < self.poisson_ratio <= 0.5:
            raise InputError(f"poisson_ratio is {self.poisson_ratio}; it must lie in (-1, 0.5]")

    @staticmethod
    def from_json(facts: dict[str, Any]) -> Recipe:
        """The recipe that `to_json` wrote down.

        Raises:
            InputError: parameters of another version.
        """
        try:
            return Recipe(**{name: value for name, value in facts.items() if name != "polyad"})
        except TypeError as error:
            raise InputError(f"the parameters are those of another version ({error})") from error

    @property
    def variants(self) -> int:
        """Rows made from one base net."""
        return len(self.densities) * len(self.levels)

    @property
    def num_shards(self) -> int:
        """Number of files."""
        return -(-self.count // self.shard_size)

    def shard_rows(self, shard: int) -> range:
        """Numbers of the rows of one shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.count))

    def shard_name(self, shard: int) -> str:
        """Name of the file of one shard, such as shard-00012-of-00050.parquet."""
        return f"shard-{shard:05d}-of-{self.num_shards:05d}.parquet"

    def base_generator(self) -> NetGenerator:
        """The function that `generator` names.

        Raises:
            InputError: there is no such function.
        """
        if self.generator in KINDS:
            return partial(_base_net, self.generator)
        module, _, name = self.generator.partition(":")
        try:
            function: NetGenerator = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(
                f"generator {self.generator!r} is unknown; choose one of {', '.join(KINDS)}, or name a function that "
                "workers can import, as 'module:function'"
            ) from error
        return function

    def to_json(self) -> dict[str, Any]:
        """All parameters as JSON values, with the version whose generators made the nets."""
        return asdict(self) | {
            "densities": list(self.densities),
            "levels": list(self.levels),
            "polyad": __version__,
        }


def _base_net(kind: str, *, seed: int) -> LatticeRecord:
    """A lattice without perturbation: the recipe adds its own."""
    return random_lattice(seed, kinds=kind, levels=(0.0,))


def derived_seed(*parts: int | str) -> int:
    """A seed below 2**63 that depends on every part: the first bits of a hash, so neighbours are unrelated."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8, person=b"polyad-seed").digest()
    return int.from_bytes(digest, "big") >> 1
