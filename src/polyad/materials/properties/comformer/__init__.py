"""ComFormer: transformers on crystals that know the lattice, hand and all."""

from polyad.materials.properties.comformer.lattice import (
    Triples,
    lattice_triples,
    primitive_cells,
    vectors_from_features,
)
from polyad.materials.properties.comformer.neighbors import crystal_edges, crystal_graph, nearest_neighbors
from polyad.materials.properties.comformer.networks import EComFormer, IComFormer

__all__ = [
    "EComFormer",
    "IComFormer",
    "Triples",
    "crystal_edges",
    "crystal_graph",
    "lattice_triples",
    "nearest_neighbors",
    "primitive_cells",
    "vectors_from_features",
]
