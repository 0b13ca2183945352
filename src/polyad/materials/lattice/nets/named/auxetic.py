"""Re-entrant and chiral cells, and other cells whose angles are parameters."""

from __future__ import annotations

import math

from polyad.errors import InputError
from polyad.materials.lattice.nets.named.seed import CUBIC, NamedCell, Seed, within


def _reentrant(angle: float, height: float) -> Seed:
    """Upright struts on a body-centred arrangement, their ends joined by oblique struts that point back inward.

    The oblique struts rise by -tan(angle) / sqrt 2 over a horizontal distance of 1 / sqrt 2, so the period along z is
    2 (height - tan(angle) / sqrt 2).
    """
    within("angle", angle, -60.0, 60.0)
    within("height", height, 0.05, 20.0)
    drop = math.tan(math.radians(angle)) / math.sqrt(2)
    period = 2 * (height - drop)
    if not period > 1.02 * height:
        raise InputError(
            f"height is {height:g}; with angle {angle:g} it must exceed {2 * drop / 0.98:.3g}, or struts meet"
        )
    z = height / (2 * period)
    return Seed(
        "I4/mmm", (1.0, 1.0, period), ((0, 0, z),), (((0, 0, z), (0, 0, -z)), ((0, 0, z), (1 / 2, 1 / 2, 1 / 2 - z)))
    )


def _reentrant_cubic(depth: float) -> Seed:
    """A cube whose faces are pyramids that point inward; apices of neighbouring cubes are joined through the face."""
    d = within("depth", depth, 0.02, 0.48)
    apex = (1 / 2, 1 / 2, d)
    return Seed("Pm-3m", CUBIC, ((0, 0, 0), apex), ((apex, (0, 0, 0)), (apex, (1 / 2, 1 / 2, -d))))


def _tetrachiral(radius: float, angle: float, c: float) -> Seed:
    """Rings of four nodes turned by an angle, joined by one ligament to each of four neighbours; stacked along z."""
    within("radius", radius, 0.02, 0.45)
    within("angle", angle, -44.0, 44.0)
    x, y = radius * math.cos(math.radians(angle)), radius * math.sin(math.radians(angle))
    site = (x, y, 0.0)
    struts = ((site, (-y, x, 0.0)), (site, (1 - x, -y, 0.0)), (site, (x, y, 1.0)))
    return Seed("P4/m", (1.0, 1.0, within("c", c, 0.05, 20.0)), (site,), struts)


def _hexachiral(radius: float, angle: float, c: float) -> Seed:
    """Rings of six nodes turned by an angle, joined by one ligament to each of six neighbours; stacked along z."""
    within("radius", radius, 0.02, 0.45)
    within("angle", angle, -29.0, 29.0)
    x, y = radius * math.cos(math.radians(angle)), radius * math.sin(math.radians(angle))
    u, v = x + y / math.sqrt(3), 2 * y / math.sqrt(3)  # fractional, gamma = 120 degrees
    site = (u, v, 0.0)
    struts = ((site, (u - v, u, 0.0)), (site, (1 - u, -v, 0.0)), (site, (u, v, 1.0)))
    return Seed("P6/m", (1.0, 1.0, within("c", c, 0.05, 20.0)), (site,), struts, hexagonal=True)


def _chiral_cubic(size: float) -> Seed:
    """Small cubes, faces of neighbours joined by four ligaments that twist by a quarter turn."""
    x = within("size", size, 0.05, 0.9) / 2
    corner = (x, x, x)
    return Seed("P432", CUBIC, (corner,), ((corner, (-x, x, x)), (corner, (1 - x, -x, x))))


def _elongated_kelvin(c: float) -> Seed:
    """Kelvin's cell stretched along z: oblique struts keep their projection, the cell its square faces."""
    within("c", c, 0.1, 10.0)
    return Seed(
        "I4/mmm",
        (1.0, 1.0, c),
        ((1 / 4, 1 / 2, 0), (0, 1 / 2, 1 / 4)),
        (((1 / 4, 1 / 2, 0), (1 / 2, 1 / 4, 0)), ((1 / 4, 1 / 2, 0), (0, 1 / 2, 1 / 4))),
    )


CELLS = (
    NamedCell(
        "reentrant",
        _reentrant,
        "re-entrant honeycomb in three dimensions: upright struts and oblique ones that point back (auxetic)",
        "Schwerdtfeger, Heinl, Singer, Koerner, Phys. Status Solidi B 247 (2010) 269-272",
        {"angle": 20.0, "height": 1.0},
        ("reentrant_auxetic", "reentrant_3d", "auxetic"),
    ),
    NamedCell(
        "reentrant_cubic",
        _reentrant_cubic,
        "cubes with faces folded inward, after re-entrant foams",
        "Lakes, Science 235 (1987) 1038-1040",
        {"depth": 0.2},
    ),
    NamedCell(
        "tetrachiral_prism",
        _tetrachiral,
        "rings of four nodes with four ligaments (tetrachiral honeycomb) stacked along z",
        "Prall, Lakes, Int. J. Mech. Sci. 39 (1997) 305-314",
        {"radius": 0.25, "angle": 30.0, "c": 1.0},
        ("tetrachiral",),
    ),
    NamedCell(
        "hexachiral_prism",
        _hexachiral,
        "rings of six nodes with six ligaments (hexachiral honeycomb) stacked along z",
        "Prall, Lakes, Int. J. Mech. Sci. 39 (1997) 305-314",
        {"radius": 0.25, "angle": 20.0, "c": 1.0},
        ("hexachiral",),
    ),
    NamedCell(
        "chiral_cubic",
        _chiral_cubic,
        "cubes joined by twisted bundles of four ligaments, after metamaterials that twist under compression",
        "Frenzel, Kadic, Wegener, Science 358 (2017) 1072-1074",
        {"size": 0.4},
        ("twist",),
    ),
    NamedCell(
        "elongated_kelvin",
        _elongated_kelvin,
        "truncated octahedra stretched along z",
        "Sullivan, Ghosn, Lerch, Int. J. Solids Struct. 45 (2008) 1754-1765",
        {"c": 1.5},
        ("stretched_kelvin",),
    ),
)
