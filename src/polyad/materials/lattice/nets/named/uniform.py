"""Edges of the convex uniform honeycombs: space filled by regular and Archimedean polyhedra, all struts of one length.

Wythoff's construction: the mirrors of a Coxeter group bound a tetrahedron; a point equally far from some of them (the
active ones) and lying on the others is reflected in all; its mirror images in the active mirrors are its neighbours.

Source: Coxeter, Regular Polytopes (1973), chapter 5; Gruenbaum, Geombinatorics 4 (1994) 49-56.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from polyad.materials.lattice.nets.named.seed import CUBIC, NamedCell, Seed, fixed

_SOURCE = "Gruenbaum, Geombinatorics 4 (1994) 49-56"
_R2 = math.sqrt(2)


def _cubic(x: float, y: float, z: float, active: str) -> Callable[..., Seed]:
    """Seed in Pm-3m: active mirrors among a (x = 1/2), b (x = y), c (y = z), d (z = 0)."""
    point = (x, y, z)
    images = {"a": (1 - x, y, z), "b": (y, x, z), "c": (x, z, y), "d": (x, y, -z)}
    return fixed(Seed("Pm-3m", CUBIC, (point,), tuple((point, images[mirror]) for mirror in active)))


def _alternated(x: float, y: float, z: float, active: str) -> Callable[..., Seed]:
    """Seed in Fm-3m: active mirrors among a (x + y = 1/2), b (x = y), c (y = z), d (z = 0)."""
    point = (x, y, z)
    images = {"a": (1 / 2 - y, 1 / 2 - x, z), "b": (y, x, z), "c": (x, z, y), "d": (x, y, -z)}
    return fixed(Seed("Fm-3m", CUBIC, (point,), tuple((point, images[mirror]) for mirror in active)))


# distance from every active mirror, by equating them
_TRUNCATED = 1 - 1 / _R2
_RUNCI = 1 / (4 + 2 * _R2)
_CANTI = 1 / (2 + 4 * _R2)
_OMNI = ((1 + 2 * _R2) / (4 + 4 * _R2), 1 / 4, 1 / (4 + 4 * _R2))
_RUNCIC = 1 / (4 + 2 * _R2)
_RUNCICANTIC = 1 / (4 + 6 * _R2)

CELLS = (
    NamedCell(
        "kelvin",
        fixed(Seed("Im-3m", CUBIC, ((1 / 4, 1 / 2, 0),), (((1 / 4, 1 / 2, 0), (1 / 2, 1 / 4, 0)),))),
        "truncated octahedra (bitruncated cubic honeycomb)",
        "Thomson (Lord Kelvin), Phil. Mag. 24 (1887) 503-514",
        aliases=("tetrakaidecahedron", "truncated_octahedron", "sod", "sodalite"),
    ),
    NamedCell(
        "cuboctahedron",
        fixed(Seed("Pm-3m", CUBIC, ((1 / 2, 1 / 2, 0),), (((1 / 2, 1 / 2, 0), (1 / 2, 0, 1 / 2)),))),
        "cuboctahedra and octahedra (rectified cubic honeycomb)",
        _SOURCE,
        aliases=("octahedron", "rectified_cubic", "reo"),
    ),
    NamedCell(
        "truncated_cube",
        _cubic(_TRUNCATED, 0, 0, "ab"),
        "truncated cubes and octahedra (truncated cubic honeycomb)",
        _SOURCE,
        aliases=("truncated_cubic", "cab"),
    ),
    NamedCell(
        "rhombicuboctahedron",
        _cubic(_TRUNCATED, _TRUNCATED, 0, "ac"),
        "rhombicuboctahedra, cuboctahedra and cubes (cantellated cubic honeycomb)",
        _SOURCE,
        aliases=("cantellated_cubic", "reo_e"),
    ),
    NamedCell(
        "truncated_cuboctahedron",
        _cubic(2 * _R2 * _CANTI, _R2 * _CANTI, 0, "abc"),
        "truncated cuboctahedra, truncated octahedra and cubes (cantitruncated cubic honeycomb)",
        _SOURCE,
        aliases=("cantitruncated_cubic", "lta"),
    ),
    NamedCell(
        "runcitruncated_cubic",
        _cubic(1 / 2 - _RUNCI, _RUNCI, _RUNCI, "abd"),
        "rhombicuboctahedra, truncated cubes, octagonal prisms and cubes (runcitruncated cubic honeycomb)",
        _SOURCE,
    ),
    NamedCell(
        "omnitruncated_cubic",
        fixed(
            Seed(
                "Im-3m",
                CUBIC,
                (_OMNI,),
                ((_OMNI, (_OMNI[1], _OMNI[0], _OMNI[2])), (_OMNI, (_OMNI[0], _OMNI[1], -_OMNI[2]))),
            )
        ),
        "truncated cuboctahedra and octagonal prisms (omnitruncated cubic honeycomb)",
        _SOURCE,
        aliases=("rho",),
    ),
    NamedCell(
        "pyrochlore",
        fixed(Seed("Fd-3m:2", CUBIC, ((0, 0, 0),), (((0, 0, 0), (1 / 4, 1 / 4, 0)),))),
        "tetrahedra that share corners, and truncated tetrahedra (quarter cubic honeycomb)",
        "O'Keeffe, Peskov, Ramsden, Yaghi, Acc. Chem. Res. 41 (2008) 1782-1789",
        aliases=("crs", "quarter_cubic", "truncated_tetrahedron"),
    ),
    NamedCell(
        "cantic_cubic",
        _alternated(1 / 6, 1 / 6, 0, "ac"),
        "truncated octahedra, cuboctahedra and truncated tetrahedra (cantic cubic honeycomb)",
        _SOURCE,
        aliases=("truncated_octet", "ubt"),
    ),
    NamedCell(
        "runcic_cubic",
        _alternated(_RUNCIC, _RUNCIC, _RUNCIC, "ad"),
        "rhombicuboctahedra, cubes and tetrahedra (runcic cubic honeycomb)",
        _SOURCE,
    ),
    NamedCell(
        "runcicantic_cubic",
        _alternated((1 + _R2) * _RUNCICANTIC, (1 + _R2) * _RUNCICANTIC, _RUNCICANTIC, "acd"),
        "truncated cuboctahedra, truncated cubes and truncated tetrahedra (runcicantic cubic honeycomb)",
        _SOURCE,
    ),
)
