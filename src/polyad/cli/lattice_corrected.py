"""`polyad lattice solve --corrected MODEL`: the tensors of beams, and what a trained correction makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from polyad.cli.failures import print_line
from polyad.cli.tables import number, percent, print_table
from polyad.errors import InputError

if TYPE_CHECKING:
    from polyad.materials.lattice.solving import SolvedRecord

_COLUMNS = (
    "lattice",
    "as",
    "density",
    "E",
    "nu",
    "K",
    "G",
    "anisotropy",
    "difference",
    "tensor within",
    "moduli within",
)


def print_corrected(solved: Sequence[SolvedRecord], model: Path, *, poisson: float, unit: str) -> None:
    """Print beams and corrected tensors with their bars; a lattice that cannot be corrected is a line, not the end.

    Args:
        solved: with the stiffness of the beams.
        model: file of the correction.
        poisson: ratio of the solid.
        unit: of the stiffness, empty for units of the solid's modulus.

    Raises:
        InputError: a solid of another Poisson's ratio than the correction was trained for.
        FileFormatError: a file that holds no correction.
    """
    import torch

    from polyad.materials.lattice.solids.correction.corrector import load_correction
    from polyad.materials.lattice.solving import isotropic_moduli

    correction = load_correction(model)
    if abs(poisson - correction.poisson_ratio) > 1e-3:
        raise InputError(
            f"--corrected: {model} is for a solid with Poisson's ratio {correction.poisson_ratio:g}, this one has "
            f"{poisson:g}; train another or give --poisson {correction.poisson_ratio:g}"
        )
    rows, outside = [], []
    for record in solved:
        try:
            found = correction([record.record.lattice], record.stiffness[None])
        except InputError as error:
            print_line(f"{record.record.name}: {error}")
            continue
        inside = bool(found.inside[0])
        if not inside:
            outside.append(record.record.name)
        both = torch.stack([record.stiffness, found.stiffness[0]])
        moduli = isotropic_moduli(both)
        gap = percent(float((both[1] - both[0]).norm() / both[0].norm()))
        bars = [percent(float(found.error[0])), f"x/ {math.exp(float(found.bar[0])):.3g}"] if inside else ["?", "?"]
        for k, kind in enumerate(("beams", "corrected")):
            values = (moduli.young, moduli.poisson, moduli.bulk, moduli.shear, moduli.anisotropy)
            cells = [number(record.record.density), *(number(value[k]) for value in values)]
            rows.append([record.record.name if k == 0 else "", kind, *cells, *([gap, *bars] if k else ["", "", ""])])
    if rows:
        scale = unit or "E_s"
        columns = [f"{name} ({scale})" if name in ("E", "K", "G") else name for name in _COLUMNS]
        print_table(columns, rows, title=f"Beams, and corrected to the solid; bars hold with {correction.level:.0%}")
    if outside:
        low, high = correction.densities
        print_line(f"trained on densities from {low:.3g} to {high:.3g}: no bar for {', '.join(outside)}")
    typer.echo(f"{len(rows) // 2:,} lattices corrected")
