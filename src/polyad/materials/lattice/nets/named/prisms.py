"""Prisms: plane tilings stacked along z, joined by vertical struts. The in-plane period is 1, the height c.

Source: Gibson and Ashby, Cellular Solids (1997), chapter 4; Gruenbaum and Shephard, Tilings and Patterns (1987),
section 2.1 (the eleven Archimedean tilings).
"""

from __future__ import annotations

import math

from polyad.materials.lattice.nets.named.seed import NamedCell, Point, with_aspect

_CELLULAR = "Gibson, Ashby, Cellular Solids (1997), chapter 4"
_TILINGS = "Gruenbaum, Shephard, Tilings and Patterns (1987), section 2.1"
_R3 = math.sqrt(3)


def _hexagonal(x: float, y: float) -> tuple[float, float, float]:
    """Fractional coordinates of a Cartesian point in the cell with a = (1, 0), b = (-1/2, sqrt 3 / 2)."""
    return (x + y / _R3, 2 * y / _R3, 0.0)


def _mirrored(active: str) -> tuple[Point, tuple[tuple[Point, Point], ...]]:
    """Site and struts of Wythoff's construction in p6m: mirrors h (y = 0), r (y = x / sqrt 3) and s (x = 1/2).

    They meet at the 6-fold axis (h, r), the 3-fold axis (r, s) and the 2-fold axis (h, s).
    """
    # distances: h: y, r: (x - sqrt 3 y) / 2, s: 1/2 - x; active ones are equal, the others zero
    y_over_t = 1.0 if "h" in active else 0.0
    x_over_t = (2.0 if "r" in active else 0.0) + _R3 * y_over_t
    t = 0.5 / (x_over_t + (1.0 if "s" in active else 0.0))
    x, y = x_over_t * t, y_over_t * t
    images = {"h": (x, -y), "r": (x / 2 + _R3 * y / 2, _R3 * x / 2 - y / 2), "s": (1 - x, y)}
    site = _hexagonal(x, y)
    return site, tuple((site, _hexagonal(*images[mirror])) for mirror in active)


def _up(point: Point) -> tuple[Point, Point]:
    return point, (point[0], point[1], 1.0)


def _prism(name: str, active: str, description: str, *aliases: str) -> NamedCell:
    site, struts = _mirrored(active)
    seed = with_aspect("P6/mmm", (site,), (*struts, _up(site)), hexagonal=True)
    return NamedCell(name, seed, description, _TILINGS, {"c": 1.0}, aliases)


_O = (0, 0, 0)
_HEXAGON = (1 / 3, 2 / 3, 0)
_OCTAGON = (1 / 2 - 1 / (2 + math.sqrt(2)), 1 / 2, 0)
_SNUB = ((_R3 - 1) / 4, (_R3 - 1) / 4 + 1 / 2, 0)
_ELONGATED = (0, 1 / (2 * (2 + _R3)), 0)

CELLS = (
    NamedCell(
        "square_prism",
        with_aspect("P4/mmm", (_O,), ((_O, (1, 0, 0)), _up(_O))),
        "square grids stacked along z",
        _CELLULAR,
        {"c": 1.0},
        ("tetragonal", "square"),
    ),
    NamedCell(
        "triangular_prism",
        with_aspect("P6/mmm", (_O,), ((_O, (1, 0, 0)), _up(_O)), hexagonal=True),
        "triangular grids stacked along z",
        _CELLULAR,
        {"c": 1.0},
        ("triangular", "hex"),
    ),
    NamedCell(
        "honeycomb_prism",
        with_aspect("P6/mmm", (_HEXAGON,), ((_HEXAGON, (2 / 3, 1 / 3, 0)), _up(_HEXAGON)), hexagonal=True),
        "honeycombs stacked along z",
        _CELLULAR,
        {"c": 1.0},
        ("honeycomb", "hexagonal_prism", "bnn"),
    ),
    NamedCell(
        "kagome_prism",
        with_aspect(
            "P6/mmm", ((1 / 2, 0, 0),), (((1 / 2, 0, 0), (1 / 2, 1 / 2, 0)), _up((1 / 2, 0, 0))), hexagonal=True
        ),
        "kagome grids (triangles and hexagons) stacked along z",
        "Hyun, Torquato, J. Mater. Res. 17 (2002) 137-144",
        {"c": 1.0},
        ("kagome", "kag"),
    ),
    _prism("truncated_hexagonal_prism", "hr", "triangles and dodecagons (3.12.12) stacked along z", "3_12_12"),
    _prism("rhombitrihexagonal_prism", "hs", "triangles, squares and hexagons (3.4.6.4) stacked along z", "3_4_6_4"),
    _prism("truncated_trihexagonal_prism", "hrs", "squares, hexagons, dodecagons (4.6.12) stacked along z", "4_6_12"),
    NamedCell(
        "truncated_square_prism",
        with_aspect(
            "P4/mmm",
            (_OCTAGON,),
            ((_OCTAGON, (1 / 2, _OCTAGON[0], 0)), (_OCTAGON, (-_OCTAGON[0], 1 / 2, 0)), _up(_OCTAGON)),
        ),
        "squares and octagons (4.8.8) stacked along z",
        _TILINGS,
        {"c": 1.0},
        ("4_8_8", "octagonal_prism"),
    ),
    NamedCell(
        "snub_square_prism",
        with_aspect(
            "P4/mbm",
            (_SNUB,),
            (
                (_SNUB, (-_SNUB[0], 1 / 2 - _SNUB[0], 0)),
                (_SNUB, (1 / 2 - _SNUB[0], 1 + _SNUB[0], 0)),
                _up(_SNUB),
            ),
        ),
        "squares and pairs of triangles (3.3.4.3.4) stacked along z",
        _TILINGS,
        {"c": 1.0},
        ("3_3_4_3_4", "shastry_sutherland_prism"),
    ),
    NamedCell(
        "snub_hexagonal_prism",
        with_aspect(
            "P6/m",
            ((2 / 7, -1 / 7, 0),),
            (
                ((2 / 7, -1 / 7, 0), (3 / 7, 2 / 7, 0)),
                ((2 / 7, -1 / 7, 0), (4 / 7, -2 / 7, 0)),
                ((2 / 7, -1 / 7, 0), (5 / 7, 1 / 7, 0)),
                _up((2 / 7, -1 / 7, 0)),
            ),
            hexagonal=True,
        ),
        "triangles around hexagons (3.3.3.3.6, chiral) stacked along z",
        _TILINGS,
        {"c": 1.0},
        ("3_3_3_3_6",),
    ),
    NamedCell(
        "elongated_triangular_prism",
        with_aspect(
            "Cmmm",
            (_ELONGATED,),
            (
                (_ELONGATED, (1, _ELONGATED[1], 0)),
                (_ELONGATED, (0, -_ELONGATED[1], 0)),
                (_ELONGATED, (1 / 2, 1 / 2 - _ELONGATED[1], 0)),
                _up(_ELONGATED),
            ),
            width=2 + _R3,
        ),
        "rows of squares and of triangles (3.3.3.4.4) stacked along z",
        _TILINGS,
        {"c": 1.0},
        ("3_3_3_4_4",),
    ),
)
