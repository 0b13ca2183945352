"""Structures to files: extended XYZ, which other codes read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

from polyad.errors import MissingDependencyError
from polyad.files import atomic_write
from polyad.materials.structures.batch import Structures


def write_extxyz(
    path: str | os.PathLike[str], structures: Structures, results: Mapping[str, Tensor] | None = None
) -> None:
    """Write all structures, with energies (structures,), forces (nodes, 3) and stresses (structures, 3, 3) if given.

    Args:
        path: of the file, which appears whole or not at all.
        structures: in angstrom by custom; species 0 is written as X.
        results: by name; by default the structures' own targets of these names.

    Raises:
        InputError: a path that cannot be written.
        MissingDependencyError: ASE is not installed (its table of symbols is needed).
    """
    try:
        from ase.data import chemical_symbols
    except ImportError as error:
        raise MissingDependencyError("writing extended XYZ", "ase>=3.23") from error
    values = {**structures.targets, **structures.node_targets} if results is None else results
    positions, starts = structures.positions.double().cpu(), structures.node_start.tolist()
    with atomic_write(path) as handle:
        for number, (low, high) in enumerate(pairwise(starts)):
            periodic = structures.periodic[number].tolist()
            words = [f'Lattice="{_numbers(structures.cell[number])}"'] if any(periodic) else []
            forces = values["forces"][low:high].double().cpu() if "forces" in values else None
            words.append("Properties=species:S:1:pos:R:3" + (":forces:R:3" if forces is not None else ""))
            if "energy" in values:
                words.append(f"energy={float(values['energy'][number])!r}")
            if "stress" in values:
                words.append(f'stress="{_numbers(values["stress"][number])}"')
            words.append(f'pbc="{" ".join("T" if flag else "F" for flag in periodic)}"')
            lines = [str(high - low), " ".join(words)]
            for row in range(low, high):
                line = f"{chemical_symbols[int(structures.species[row])]} {_numbers(positions[row])}"
                lines.append(line if forces is None else f"{line} {_numbers(forces[row - low])}")
            handle.write(("\n".join(lines) + "\n").encode())


def _numbers(values: Tensor) -> str:
    return " ".join(repr(x) for x in values.double().flatten().tolist())
