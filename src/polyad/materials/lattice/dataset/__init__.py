"""Data sets of lattices: generated at any scale, written to Parquet, read back in constant memory, split by net."""

from polyad.materials.lattice.dataset.generate import generate, read_manifest
from polyad.materials.lattice.dataset.reader import read_dataset, read_records
from polyad.materials.lattice.dataset.recipe import Recipe
from polyad.materials.lattice.dataset.schema import SCHEMA, SCHEMA_VERSION
from polyad.materials.lattice.dataset.split import part_of, split, split_dataset
from polyad.materials.lattice.dataset.table import LatticeTable
from polyad.materials.lattice.dataset.writer import table_writer, write_records

__all__ = [
    "SCHEMA",
    "SCHEMA_VERSION",
    "LatticeTable",
    "Recipe",
    "generate",
    "part_of",
    "read_dataset",
    "read_manifest",
    "read_records",
    "split",
    "split_dataset",
    "table_writer",
    "write_records",
]
