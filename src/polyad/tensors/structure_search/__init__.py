"""Which tensor network, not only which ranks: searches over graphs, bond sizes and the placement of modes.

    found = search_structure(x, tol=1e-2)              # method="greedy" or "alternating"
    found.value, found.error, found.ratio
    print(found.drawing)
    plot_structure(found.structure).savefig("network.png")

`greedy_tn` grows a network from rank one, bond by bond, for any loss (a tensor, known entries, a layer); `tnale`
enumerates ranks and placements on a template one variable at a time; `tnls`, `tn_ga` and `random_search` are its
rivals. A structure is a rank matrix (`NetworkStructure`), a found network is a `polyad.tensors.formats.TensorNetwork`.

When not to use it: where a classical format at a tolerance will do; `polyad.tensors.formats.compress` is faster.
"""

from polyad.tensors.structure_search.alternating import (
    Centre,
    TheoryCounts,
    most_evaluations,
    random_centre,
    theory_counts,
    tnale,
)
from polyad.tensors.structure_search.drawing import draw_structure, plot_structure
from polyad.tensors.structure_search.evaluation import (
    Counter,
    Evaluation,
    Evaluator,
    SearchResult,
    tolerance_objective,
    weighted_objective,
)
from polyad.tensors.structure_search.greedy import GreedySearch, GreedyStep, greedy_tn, random_walk
from polyad.tensors.structure_search.instances import Instance, planted_ring, read_instance, structure_from_adjacency
from polyad.tensors.structure_search.layer import ClassifierLayer
from polyad.tensors.structure_search.losses import (
    GradientLoss,
    LeastSquaresLoss,
    NetworkLoss,
    completion,
    decomposition,
)
from polyad.tensors.structure_search.network_als import FitTarget, NetworkFit, fit_network
from polyad.tensors.structure_search.network_gradients import adam_cores, fit_network_adam
from polyad.tensors.structure_search.sampling import random_search, tn_ga, tnls
from polyad.tensors.structure_search.search import PathPoint, StructureSearch, pareto_path, search_structure
from polyad.tensors.structure_search.structures import NetworkStructure, structure_of
from polyad.tensors.structure_search.templates import TEMPLATES, Template, complete, grid, path, ring, star, tree
from polyad.tensors.structure_search.transfer import grow, new_slices, shrink, split, splits

__all__ = [
    "TEMPLATES",
    "Centre",
    "ClassifierLayer",
    "Counter",
    "Evaluation",
    "Evaluator",
    "FitTarget",
    "GradientLoss",
    "GreedySearch",
    "GreedyStep",
    "Instance",
    "LeastSquaresLoss",
    "NetworkFit",
    "NetworkLoss",
    "NetworkStructure",
    "PathPoint",
    "SearchResult",
    "StructureSearch",
    "Template",
    "TheoryCounts",
    "adam_cores",
    "complete",
    "completion",
    "decomposition",
    "draw_structure",
    "fit_network",
    "fit_network_adam",
    "greedy_tn",
    "grid",
    "grow",
    "most_evaluations",
    "new_slices",
    "pareto_path",
    "path",
    "planted_ring",
    "plot_structure",
    "random_centre",
    "random_search",
    "random_walk",
    "read_instance",
    "ring",
    "search_structure",
    "shrink",
    "split",
    "splits",
    "star",
    "structure_from_adjacency",
    "structure_of",
    "theory_counts",
    "tn_ga",
    "tnale",
    "tnls",
    "tolerance_objective",
    "tree",
    "weighted_objective",
]
