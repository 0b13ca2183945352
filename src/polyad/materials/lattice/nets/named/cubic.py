"""Cubic cells of struts between corners, face centres and the body centre."""

from __future__ import annotations

from collections.abc import Callable

from polyad.materials.lattice.nets.named.seed import CUBIC, NamedCell, Seed, fixed, with_aspect

_O, _BODY = (0, 0, 0), (1 / 2, 1 / 2, 1 / 2)
_FACE_X, _FACE_Y, _FACE_Z = (0, 1 / 2, 1 / 2), (1 / 2, 0, 1 / 2), (1 / 2, 1 / 2, 0)
_X, _Z = (1, 0, 0), (0, 0, 1)

_DESHPANDE = "Deshpande, Fleck, Ashby, J. Mech. Phys. Solids 49 (2001) 1747-1769"
_GIBSON = "Gibson, Ashby, Cellular Solids (1997)"
_LEARY = "Leary, Mazur et al., Materials & Design 157 (2018) 179-199"
_REHME = "Rehme, Emmelmann, Proc. SPIE 6107 (2006) 61070K"
_GURTNER = "Gurtner, Durand, Proc. R. Soc. A 470 (2014) 20130611"
_ZOK = "Zok, Latture, Begley, J. Mech. Phys. Solids 96 (2016) 184-203"
_RCSR = "O'Keeffe, Peskov, Ramsden, Yaghi, Acc. Chem. Res. 41 (2008) 1782-1789"


def _cubic(sites: tuple, struts: tuple, group: str = "Pm-3m") -> Callable[..., Seed]:
    return fixed(Seed(group, CUBIC, sites, struts))


CELLS = (
    NamedCell(
        "simple_cubic",
        _cubic((_O,), ((_O, _X),)),
        "struts along the edges of a cube",
        _GIBSON,
        aliases=("sc", "cubic", "pcu", "primitive_cubic"),
    ),
    NamedCell(
        "bcc",
        _cubic((_O,), ((_O, _BODY),), "Im-3m"),
        "half body diagonals of a cube",
        _ZOK,
        aliases=("body_centred_cubic", "bcu"),
    ),
    NamedCell(
        "octet",
        _cubic((_O,), ((_O, _FACE_Z),), "Fm-3m"),
        "tetrahedra and octahedra: every node of the face-centred cubic lattice joined to its twelve neighbours",
        _DESHPANDE,
        aliases=("fcc", "octet_truss", "fcu", "face_centred_cubic"),
    ),
    NamedCell(
        "diamond",
        _cubic((_O,), ((_O, (1 / 4, 1 / 4, 1 / 4)),), "Fd-3m:1"),
        "four struts at every node, as carbon's bonds in diamond",
        "Milton, Cherkaev, J. Eng. Mater. Technol. 117 (1995) 483-493",
        aliases=("dia", "pentamode"),
    ),
    NamedCell(
        "bcc_sc",
        _cubic((_O, _BODY), ((_O, _X), (_O, _BODY))),
        "simple cubic plus body diagonals",
        _ZOK,
        aliases=("bcc+sc", "sc_bcc", "sc+bcc"),
    ),
    NamedCell(
        "bcc_braced",
        _cubic((_O,), ((_O, _X), (_O, _BODY)), "Im-3m"),
        "body-centred cubic with first and second neighbours joined (the Delaunay net of bcc)",
        _GURTNER,
        aliases=("bcu_x", "tetrahedral_bcc"),
    ),
    NamedCell(
        "bccz",
        with_aspect("P4/mmm", (_O, _BODY), ((_O, _BODY), (_O, _Z))),
        "body diagonals with vertical struts through the corners",
        _LEARY,
        {"c": 1.0},
        aliases=("bcc_z",),
    ),
    NamedCell(
        "face_centred",
        _cubic((_O, _FACE_Z), ((_O, _FACE_Z),)),
        "diagonals of all six faces",
        _LEARY,
        aliases=("face_diagonal", "fcc_faces"),
    ),
    NamedCell(
        "fccz",
        with_aspect("P4/mmm", (_O, _FACE_Z, _FACE_X), ((_O, _FACE_Z), (_O, _FACE_X), (_O, _Z))),
        "diagonals of all six faces with vertical struts through the corners",
        _LEARY,
        {"c": 1.0},
        aliases=("fcc_z",),
    ),
    NamedCell(
        "f2cc",
        with_aspect("P4/mmm", (_O, _FACE_X), ((_O, _FACE_X),)),
        "diagonals of the four vertical faces",
        _REHME,
        {"c": 1.0},
    ),
    NamedCell(
        "f2ccz",
        with_aspect("P4/mmm", (_O, _FACE_X), ((_O, _FACE_X), (_O, _Z))),
        "diagonals of the four vertical faces with vertical struts through the corners",
        _REHME,
        {"c": 1.0},
        aliases=("f2cc_z",),
    ),
    NamedCell(
        "fbcc",
        _cubic((_O, _FACE_Z, _BODY), ((_O, _FACE_Z), (_O, _BODY))),
        "face diagonals and body diagonals",
        _LEARY,
        aliases=("face_body_centred",),
    ),
    NamedCell(
        "fbccz",
        with_aspect(
            "P4/mmm",
            (_O, _FACE_Z, _FACE_X, _BODY),
            ((_O, _FACE_Z), (_O, _FACE_X), (_O, _BODY), (_O, _Z)),
        ),
        "face and body diagonals with vertical struts through the corners",
        _LEARY,
        {"c": 1.0},
        aliases=("fbcc_z",),
    ),
    NamedCell(
        "f2bccz",
        with_aspect("P4/mmm", (_O, _FACE_X, _BODY), ((_O, _FACE_X), (_O, _BODY), (_O, _Z))),
        "diagonals of the vertical faces, body diagonals and vertical struts",
        _REHME,
        {"c": 1.0},
    ),
    NamedCell(
        "octet_cubic",
        _cubic((_O, _FACE_Z), ((_O, _FACE_Z), (_FACE_X, _FACE_Y), (_O, _X))),
        "octet truss with the cube's edges",
        _GURTNER,
        aliases=("octet_sc", "isotruss"),
    ),
    NamedCell(
        "cubic_face_braced",
        _cubic((_O, _FACE_Z), ((_O, _FACE_Z), (_O, _X))),
        "cube's edges and face diagonals",
        _ZOK,
        aliases=("sc_fcc",),
    ),
    NamedCell(
        "cubic_braced",
        _cubic((_O, _FACE_Z, _BODY), ((_O, _FACE_Z), (_O, _X), (_O, _BODY))),
        "cube's edges, face diagonals and body diagonals",
        _ZOK,
        aliases=("sc_fcc_bcc",),
    ),
    NamedCell(
        "star",
        _cubic((_O, _FACE_Z, _BODY), ((_BODY, _FACE_Z), (_O, _FACE_Z))),
        "face diagonals, and face centres joined through the body centre",
        _LEARY,
    ),
    NamedCell(
        "perovskite",
        _cubic((_O, (1 / 2, 0, 0), _BODY), ((_O, (1 / 2, 0, 0)), (_BODY, (1 / 2, 0, 0)))),
        "corner-sharing octahedra' centres, their vertices and the cuboctahedral holes",
        _RCSR,
    ),
)
