"""The data of a page as compact JSON: columns as base64, geometry as long as there is room for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from polyad.materials import elasticity
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.report.analysis import FACTORS, Analysis, hashin_shtrikman
from polyad.materials.lattice.view.packing import pack_array, pack_lattice

GEOMETRY_BUDGET = 1_800_000
"""Characters of geometry before compression; lattices beyond it keep their numbers but not their drawing."""

_MODULI = ("bulk_", "shear_", "young_", "prefactor_")


def lattices_payload(
    records: Sequence[LatticeRecord], analysis: Analysis, *, young_modulus: float, poisson_ratio: float
) -> dict[str, Any]:
    """Names, numbers (moduli times `young_modulus`), tensors and geometry of all lattices."""
    rows, columns = np.triu_indices(6)
    upper = young_modulus * analysis.stiffness.numpy()[:, rows, columns]
    classes = [name for name in elasticity.SYMMETRIES if name in analysis.symmetry]
    number: dict[str, int] = {name: place for place, name in enumerate(classes)}
    known = analysis.columns["density"]
    density = np.geomspace(0.6 * min(known.min(), 0.5), min(1.0, 1.8 * known.max()), 64)
    bounds = hashin_shtrikman(density, poisson_ratio)
    solid = hashin_shtrikman(np.ones(1), poisson_ratio)
    return {
        "names": [record.name for record in records],
        "bases": [record.base_name if record.base_name != record.name else "" for record in records],
        "sources": [record.source for record in records],
        "notes": {str(number): list(record.notes) for number, record in enumerate(records) if record.notes},
        "classes": classes,
        "symmetry": [number[name] for name in analysis.symmetry],
        "columns": {
            name: pack_array(values * (young_modulus if name.startswith(_MODULI) else 1.0), "<f4")
            for name, values in analysis.columns.items()
        },
        "stiffness": pack_array(upper, "<f8"),
        "extreme": pack_array(analysis.extreme_directions, "<f4"),
        "factors": list(FACTORS),
        "scaling": pack_array(young_modulus * analysis.scaling, "<f4"),
        "bounds": {
            "density": rounded(density),
            **{name: rounded(young_modulus * values) for name, values in bounds.items()},
            "solid": {name: rounded(young_modulus * values)[0] for name, values in solid.items()},
        },
        "geometry": _geometry(records, analysis),
    }


def rounded(values: Any) -> list[float | None]:
    """Five significant digits, None for what is not finite: short JSON that is valid."""
    return [
        float(f"{value:.5g}") if math.isfinite(value) else None for value in np.asarray(values, dtype=float).tolist()
    ]


def _geometry(records: Sequence[LatticeRecord], analysis: Analysis) -> list[dict[str, Any] | None]:
    packed: list[dict[str, Any] | None] = []
    used = 0
    for record, dangling in zip(records, analysis.dangling, strict=True):
        room = used < GEOMETRY_BUDGET
        entry = pack_lattice(record.lattice, dangling=dangling) if room else None
        used += sum(len(str(value)) for value in entry.values()) if entry else 0
        packed.append(entry)
    return packed
