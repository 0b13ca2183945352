"""`polyad lattice solve --solid`: the tensors of lattices as bodies of voxels, beside those of their beams."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from polyad.cli.failures import print_line
from polyad.cli.progress import progress_bar
from polyad.cli.tables import number, percent, print_table

if TYPE_CHECKING:
    from polyad.materials.lattice.solving import SolvedRecord

_COLUMNS = ("lattice", "as", "density", "E", "nu", "K", "G", "anisotropy", "difference")


def print_solids(solved: Sequence[SolvedRecord], *, poisson: float, resolution: int, unit: str) -> None:
    """Solve every lattice as a solid and print it beside the beams; one that fails is a line, not the end.

    Args:
        solved: with the stiffness of the beams.
        poisson: ratio of the solid.
        resolution: voxels along the longest lattice vector.
        unit: of the stiffness, empty for units of the solid's modulus.
    """
    import torch

    from polyad.errors import ConvergenceError, NumericalWarning
    from polyad.materials.lattice.solids.homogenized import solid_stiffness
    from polyad.materials.lattice.solving import isotropic_moduli

    rows, told = [], set()
    began = time.perf_counter()
    with progress_bar("Solving as solids", unit="hundredths of a load case") as advance:
        for number_, record in enumerate(solved):
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", NumericalWarning)
                    found = solid_stiffness(
                        record.record.lattice,
                        young_modulus=record.young_modulus,
                        poisson_ratio=poisson,
                        resolution=resolution,
                        progress=_within(advance, number_, len(solved)),
                    )
            except ConvergenceError as error:
                print_line(f"{record.record.name}: {error}")
                continue
            for warning in caught:
                if issubclass(warning.category, NumericalWarning):
                    told.add(f"{record.record.name}: {warning.message}")
            moduli = isotropic_moduli(torch.stack([record.stiffness, found.stiffness]))
            gap = float((found.stiffness - record.stiffness).norm() / record.stiffness.norm())
            for k, (kind, density) in enumerate((("beams", record.record.density), ("solid", found.density))):
                values = (moduli.young, moduli.poisson, moduli.bulk, moduli.shear, moduli.anisotropy)
                cells = [number(x) for x in (density, *(value[k] for value in values))]
                rows.append([record.record.name if k == 0 else "", kind, *cells, percent(gap) if k else ""])
    if rows:
        scale = unit or "E_s"
        columns = [f"{name} ({scale})" if name in ("E", "K", "G") else name for name in _COLUMNS]
        print_table(columns, rows, title=f"Beams, and the union of struts with {resolution} voxels along a cell")
    for line in sorted(told):
        print_line(line)
    typer.echo(f"{len(solved):,} lattices as solids in {time.perf_counter() - began:.3g} s")


def _within(advance: Callable[[int, int], None], place: int, count: int) -> Callable[[int, int], None]:
    return lambda done, _: advance(600 * place + done, 600 * count)
