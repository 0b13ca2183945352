"""What a Parquet file of lattices holds: one row a unit cell at one relative density.

| column | type | meaning |
|---|---|---|
| name | string | name of the cell, the same for all its densities |
| base_name | string | name of the net that the cell is a variant of; data sets are split by it |
| kind | string | how the net was made: a generator's name, "named", or "file" |
| density | double | relative density |
| cell | double[9] | lattice vectors, row by row |
| positions | list of double[3] | Cartesian positions of the unique nodes |
| edge_index | list of int32[2] | source and target node of every strut, counted from 0 |
| edge_shift | list of int32[3] | the target is the image displaced by edge_shift @ cell |
| radius | list of double | radius of every strut, in the unit of `cell` |
| stiffness | double[36] or null | effective stiffness, row by row, Kelvin-Mandel order 11, 22, 33, 23, 13, 12 |
| mechanisms | int32 or null | zero-energy motions beyond the global translation |
| level | double or null | displacement of every node of the base net, in mean strut lengths |
| seed | int64 or null | seed with which the generator `kind` makes the base net |
| source | string | where the row comes from |
| metadata | string | further facts: a JSON object |
| notes | list of string | what a reader of the source noticed |

Stiffness is in the unit of the solid's Young's modulus (1 unless stated). Types never change within one schema version;
the version, the units and, for generated files, the recipe are stored as JSON under the key `polyad` of the file's
schema metadata.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
"""Raised when a column changes its type or its meaning."""

METADATA_KEY = b"polyad"

UNITS = {
    "cell, positions, radius": "one unit of length",
    "stiffness": "Young's modulus of the solid; Kelvin-Mandel order 11,22,33,23,13,12",
    "level": "mean strut length of the base net",
}

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("base_name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("density", pa.float64(), nullable=False),
        pa.field("cell", pa.list_(pa.float64(), 9), nullable=False),
        pa.field("positions", pa.list_(pa.list_(pa.float64(), 3)), nullable=False),
        pa.field("edge_index", pa.list_(pa.list_(pa.int32(), 2)), nullable=False),
        pa.field("edge_shift", pa.list_(pa.list_(pa.int32(), 3)), nullable=False),
        pa.field("radius", pa.list_(pa.float64()), nullable=False),
        pa.field("stiffness", pa.list_(pa.float64(), 36)),
        pa.field("mechanisms", pa.int32()),
        pa.field("level", pa.float64()),
        pa.field("seed", pa.int64()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("notes", pa.list_(pa.string()), nullable=False),
    ]
)
"""The columns, without metadata."""

REQUIRED = ("name", "density", "cell", "positions", "edge_index", "edge_shift", "radius")
"""Columns without which a row is no lattice; the others may be missing in files made elsewhere."""


def schema_with(**facts: Any) -> pa.Schema:
    """The schema with its version, the units and further JSON facts as metadata."""
    content = {"schema": SCHEMA_VERSION, "units": UNITS} | facts
    return SCHEMA.with_metadata({METADATA_KEY: json.dumps(content, sort_keys=True).encode()})


def schema_facts(schema: pa.Schema) -> dict[str, Any]:
    """The metadata that `schema_with` stored; empty for a file made elsewhere."""
    stored = (schema.metadata or {}).get(METADATA_KEY)
    try:
        facts = json.loads(stored) if stored else {}
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
