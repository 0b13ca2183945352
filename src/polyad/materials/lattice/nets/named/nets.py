"""Cells that follow crystal structures and other three-periodic nets, with struts for bonds.

Free coordinates are those of the most symmetric embedding with struts as equal as the net allows, to five decimals
where no closed form is given.
"""

from __future__ import annotations

from polyad.materials.lattice.nets.named.seed import CUBIC, NamedCell, Point, Seed, fixed, with_aspect

_RCSR = "O'Keeffe, Peskov, Ramsden, Yaghi, Acc. Chem. Res. 41 (2008) 1782-1789"
_WELLS = "Wells, Three-Dimensional Nets and Polyhedra (1977)"
_FOAMS = "Weaire, Phelan, Phil. Mag. Lett. 69 (1994) 107-110"

_A, _B = 0.18290, (0.0, 0.11622, 0.30991)  # clathrate I
_C, _D = 0.28196, (0.06803, 0.18197, 0.37910)  # clathrate II


Struts = tuple[tuple[Point, Point], ...]


def _cubic(
    name: str,
    group: str,
    sites: tuple[Point, ...],
    struts: Struts,
    description: str,
    *aliases: str,
    source: str = _RCSR,
) -> NamedCell:
    return NamedCell(name, fixed(Seed(group, CUBIC, sites, struts)), description, source, aliases=aliases)


def _uniaxial(
    name: str,
    group: str,
    c: float,
    sites: tuple[Point, ...],
    struts: Struts,
    description: str,
    *aliases: str,
    hexagonal: bool = False,
    source: str = _RCSR,
) -> NamedCell:
    seed = with_aspect(group, sites, struts, hexagonal=hexagonal)
    return NamedCell(name, seed, description, source, {"c": c}, aliases)


CELLS = (
    _cubic(
        "srs",
        "I4132",
        ((1 / 8, 1 / 8, 1 / 8),),
        (((1 / 8, 1 / 8, 1 / 8), (1 / 8, -1 / 8, 3 / 8)),),
        "the gyroid's net: three struts in a plane at every node, chiral",
        "gyroid",
        "gyroid_net",
        "k4_crystal",
        source="Sunada, Notices AMS 55 (2008) 208-215",
    ),
    _cubic(
        "rhombic_dodecahedron",
        "Fm-3m",
        ((0, 0, 0), (1 / 4, 1 / 4, 1 / 4)),
        (((0, 0, 0), (1 / 4, 1 / 4, 1 / 4)),),
        "rhombic dodecahedra, the net of fluorite",
        "fluorite",
        "flu",
        "dodecahedron",
        source=_WELLS,
    ),
    _cubic(
        "weaire_phelan",
        "Pm-3n",
        ((0, 1 / 4, 1 / 2), (_A, _A, _A), _B),
        (
            (_B, (_A, _A, _A)),
            (_B, (0, 1 / 4, 1 / 2)),
            (_B, (0, -_B[1], _B[2])),
            ((_A, _A, _A), (1 / 2 - _A, 1 / 2 - _A, 1 / 2 - _A)),
        ),
        "dodecahedra and tetrakaidecahedra of equal volume (clathrate I), with straight struts",
        "clathrate_1",
        "mep",
        source=_FOAMS,
    ),
    _cubic(
        "clathrate_2",
        "Fd-3m:2",
        ((1 / 8, 1 / 8, 5 / 8), (_C, _C, _C), _D),
        (
            (_D, (0.03196, 0.21804, 0.53196)),
            (_D, (0.18197, 0.06803, 0.37910)),
            (_D, (0.12910, 0.31803, 0.31803)),
            ((_C, _C, _C), (3 / 8, 3 / 8, 3 / 8)),
        ),
        "dodecahedra and hexakaidecahedra (clathrate II, the C15 foam), with straight struts",
        "mtn",
        "c15_foam",
        source="Rivier, Phil. Mag. Lett. 69 (1994) 297-303",
    ),
    _cubic(
        "nbo",
        "Im-3m",
        ((0, 0, 1 / 2),),
        (((0, 0, 1 / 2), (0, 1 / 2, 1 / 2)),),
        "niobium monoxide: four struts in a square, neighbours turned by 90 degrees",
        source=_WELLS,
    ),
    _cubic(
        "lcy",
        "P4132",
        ((3 / 8, 3 / 8, 3 / 8),),
        (((3 / 8, 3 / 8, 3 / 8), (1 / 8, 5 / 8, -1 / 8)),),
        "triangles that share corners, three at every node, chiral",
        "trillium",
    ),
    _cubic(
        "boracite",
        "P-43m",
        ((1 / 3, 1 / 3, 2 / 3), (0, 1 / 2, 1 / 2)),
        (((0, 1 / 2, 1 / 2), (1 / 3, 1 / 3, 2 / 3)),),
        "triangles and squares",
        "bor",
    ),
    _cubic(
        "twisted_boracite",
        "Fm-3m",
        ((1 / 6, 1 / 6, 1 / 6), (1 / 4, 1 / 4, 0)),
        (((1 / 4, 1 / 4, 0), (1 / 6, 1 / 6, 1 / 6)),),
        "triangles and squares, as in the framework HKUST-1",
        "tbo",
    ),
    _cubic(
        "carbon_nitride",
        "I-43d",
        ((1 / 24, 1 / 24, 1 / 24), (1 / 4, 7 / 8, 0)),
        (((1 / 4, 7 / 8, 0), (1 / 4 - 1 / 24, 3 / 4 - 1 / 24, 1 / 24 - 1 / 4)),),
        "triangles and tetrahedra, cubic C3N4",
        "ctn",
    ),
    _cubic(
        "pyrite",
        "Pa-3",
        ((1 / 6, 1 / 6, 1 / 6), (0, 0, 1 / 2)),
        (((0, 0, 1 / 2), (1 / 6, 1 / 6, 1 / 6)),),
        "triangles and octahedra, the net of pyrite without its S-S bonds",
        "pyr",
    ),
    _cubic(
        "spinel_net",
        "Fd-3m:2",
        ((1 / 12, 1 / 12, 1 / 6), (0, 0, 0)),
        (((0, 0, 0), (1 / 12, 1 / 12, 1 / 6)),),
        "triangles and octahedra",
        "spn",
    ),
    _cubic(
        "square_octahedra",
        "Im-3m",
        ((0, 0, 1 / 4), (1 / 4, 1 / 4, 1 / 4)),
        (((0, 0, 1 / 4), (1 / 4, 1 / 4, 1 / 4)),),
        "squares and octahedra (soc)",
        "soc",
    ),
    _cubic(
        "square_hexagons",
        "Im-3m",
        ((0, 1 / 4, 1 / 2), (1 / 4, 1 / 4, 1 / 4)),
        (((0, 1 / 4, 1 / 2), (1 / 4, 1 / 4, 1 / 4)),),
        "squares and hexagons (she)",
        "she",
    ),
    _cubic(
        "hexagons",
        "Pn-3m:2",
        ((0, 0, 1 / 2),),
        (((0, 0, 1 / 2), (0, 1 / 2, 1)),),
        "planar hexagonal nodes (hxg), a net of the P surface",
        "hxg",
    ),
    _cubic(
        "analcime",
        "Ia-3d",
        ((1 / 8, 1 / 6, 5 / 12),),
        (((1 / 8, 1 / 6, 5 / 12), (1 / 12, 3 / 8, 1 / 3)),),
        "the zeolite analcime",
        "ana",
    ),
    _cubic(
        "bcs",
        "Ia-3d",
        ((0, 0, 0),),
        (((0, 0, 0), (1 / 4, 1 / 4, -1 / 4)),),
        "six struts at every node of a body-centred lattice, of its eight",
    ),
    _uniaxial(
        "lonsdaleite",
        "P63/mmc",
        (8 / 3) ** 0.5,
        ((1 / 3, 2 / 3, 1 / 16),),
        (
            ((1 / 3, 2 / 3, 1 / 16), (1 / 3, 2 / 3, 7 / 16)),
            ((1 / 3, 2 / 3, 1 / 16), (2 / 3, 1 / 3, -1 / 16)),
        ),
        "hexagonal diamond",
        "lon",
        "hexagonal_diamond",
        hexagonal=True,
        source=_WELLS,
    ),
    _uniaxial(
        "hcp",
        "P63/mmc",
        (8 / 3) ** 0.5,
        ((1 / 3, 2 / 3, 1 / 4),),
        (
            ((1 / 3, 2 / 3, 1 / 4), (4 / 3, 2 / 3, 1 / 4)),
            ((1 / 3, 2 / 3, 1 / 4), (2 / 3, 1 / 3, 3 / 4)),
        ),
        "hexagonal close packing, twelve struts at every node",
        "hexagonal_close_packed",
        hexagonal=True,
        source=_WELLS,
    ),
    _uniaxial(
        "quartz",
        "P6222",
        1.06066,
        ((0, 1 / 2, 1 / 6),),
        (((0, 1 / 2, 1 / 6), (1 / 2, 1 / 2, -1 / 6)),),
        "high quartz, chiral",
        "qtz",
        hexagonal=True,
        source=_WELLS,
    ),
    _uniaxial(
        "pts",
        "P42/mmc",
        2**0.5,
        ((1 / 2, 0, 0), (0, 0, 1 / 4)),
        (((0, 0, 1 / 4), (1 / 2, 0, 0)),),
        "platinum sulphide (cooperite): squares and tetrahedra",
        "cooperite",
        source=_WELLS,
    ),
    _uniaxial(
        "ths",
        "I41/amd:2",
        2.82514,
        ((0, 3 / 4, 0.03118),),
        (
            ((0, 3 / 4, 0.03118), (0, 1 / 4, -0.03118)),
            ((0, 3 / 4, 0.03118), (0, 3 / 4, 1 / 4 - 0.03118)),
        ),
        "thorium silicide: three struts at every node",
        source=_WELLS,
    ),
    _uniaxial(
        "rutile",
        "P42/mnm",
        0.63190,
        ((0.20009, 0.79991, 0), (0, 0, 1 / 2)),
        (
            ((0, 0, 1 / 2), (0.29991, 0.29991, 1 / 2)),
            ((0, 0, 1 / 2), (0.20009, -0.20009, 0)),
        ),
        "rutile: octahedra and triangles",
        "rtl",
        source=_WELLS,
    ),
    _uniaxial(
        "acs",
        "P63/mmc",
        (2 / 3) ** 0.5,
        ((2 / 3, 1 / 3, 1 / 4),),
        (((2 / 3, 1 / 3, 1 / 4), (1 / 3, -1 / 3, -1 / 4)),),
        "trigonal prisms at every node",
        hexagonal=True,
    ),
    _uniaxial(
        "nickel_arsenide",
        "P63/mmc",
        (8 / 3) ** 0.5,
        ((0, 0, 0), (1 / 3, 2 / 3, 1 / 4)),
        (((0, 0, 0), (1 / 3, -1 / 3, 1 / 4)),),
        "octahedra and trigonal prisms",
        "nia",
        hexagonal=True,
        source=_WELLS,
    ),
    _uniaxial(
        "cds",
        "P42/mmc",
        2.0,
        ((0, 0, 0),),
        (((0, 0, 0), (0, 0, 1 / 2)), ((0, 0, 0), (1, 0, 0))),
        "cadmium sulphate: four struts in a plane, planes along x and y in turn",
        source=_WELLS,
    ),
    _uniaxial(
        "bto",
        "P6222",
        2.12132,
        ((0, 1 / 2, 1 / 24),),
        (
            ((0, 1 / 2, 1 / 24), (0, 1 / 2, 7 / 24)),
            ((0, 1 / 2, 1 / 24), (1 / 2, 1 / 2, -1 / 24)),
        ),
        "boron oxide: three struts at every node, chiral",
        hexagonal=True,
        source=_WELLS,
    ),
    _uniaxial(
        "crb",
        "I4/mmm",
        0.55145,
        ((0.32557, 0.32557, 0),),
        (
            ((0.32557, 0.32557, 0), (0.32557, 0.67443, 0)),
            ((0.32557, 0.32557, 0), (0.17443, 0.17443, 1 / 2)),
        ),
        "chromium boride's boron net, body-centred tetragonal carbon",
        "bct_carbon",
    ),
    _uniaxial(
        "gismondine",
        "I41/amd:2",
        0.89464,
        ((0.15, 0.6, 1 / 8),),
        (((0.15, 0.6, 1 / 8), (0.15, 0.9, 1 / 8)), ((0.15, 0.6, 1 / 8), (0.15, 0.4, -1 / 8))),
        "the zeolite gismondine",
        "gis",
    ),
    _uniaxial(
        "lvt",
        "I41/amd:2",
        1.0,
        ((0, 0, 1 / 2),),
        (((0, 0, 1 / 2), (1 / 4, 1 / 4, 1 / 4)),),
        "four struts in a rectangle at every node, neighbours turned",
    ),
    _uniaxial(
        "stp",
        "P6/mmm",
        0.40825,
        ((0, 1 / 2, 0), (1 / 3, 2 / 3, 1 / 2)),
        (((0, 1 / 2, 0), (1 / 3, 2 / 3, 1 / 2)),),
        "squares and trigonal prisms",
        hexagonal=True,
    ),
)
