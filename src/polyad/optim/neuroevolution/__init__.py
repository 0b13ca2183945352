"""NEAT on tensors: networks whose structure evolves, the whole population in two tensors of fixed shape.

A genome is a set of nodes and of connections between them. NEAT (Stanley, Miikkulainen, Evolutionary Computation 10,
2002) starts from networks without hidden nodes, lets mutations add and delete nodes and connections, aligns genomes for
crossover by the keys of their genes, and shelters new structures in species: genomes whose compatibility distance
(disjoint n + difference s) / m (summed over nodes and connections) is small compete among themselves. Here each of
these operations is made for all genomes at once, with masks and gathers on tensors (Wang, Zhao, Liu, Cheng, Tensorized
NeuroEvolution of Augmenting Topologies for GPU Acceleration, GECCO 2024, arXiv:2404.01817).

Contract: ask and tell. `population = neat.ask()`, measure, `neat.tell(fitness)`.

Deviations. Inputs have no rows, since nothing of them evolves. Networks are evaluated from one list of nodes by level
and of connections by node, without padding, not level by level over padded rows; on a processor a compiled loop runs
through it. A connection that would close a cycle is found by spreading from its target, not from the whole matrix of
what reaches what. Splits of the same connection in one generation get the same key, as in the paper of 2002. A species'
next centre is its member nearest to the centre of now. Genomes far from all centres when all places are taken join the
nearest.

*When not to use it*: where the structure is known and gradients exist; thousands of weights are beyond mutation, unless
a small network draws them (`substrate_weights`).
"""

from polyad.optim.neuroevolution.alignment import crossover, distance
from polyad.optim.neuroevolution.functions import ACTIVATIONS, AGGREGATIONS
from polyad.optim.neuroevolution.hyperneat import substrate_forward, substrate_weights
from polyad.optim.neuroevolution.inference import Program, forward, transform
from polyad.optim.neuroevolution.mutation import draw_mutations, keys_for_new_nodes, mutate
from polyad.optim.neuroevolution.neat import NEAT
from polyad.optim.neuroevolution.population import Population, check_population, initial_population
from polyad.optim.neuroevolution.settings import NumberRates, Settings
from polyad.optim.neuroevolution.species import Species, spawn_numbers, speciate

__all__ = [
    "ACTIVATIONS",
    "AGGREGATIONS",
    "NEAT",
    "NumberRates",
    "Population",
    "Program",
    "Settings",
    "Species",
    "check_population",
    "crossover",
    "distance",
    "draw_mutations",
    "forward",
    "initial_population",
    "keys_for_new_nodes",
    "mutate",
    "spawn_numbers",
    "speciate",
    "substrate_forward",
    "substrate_weights",
    "transform",
]
