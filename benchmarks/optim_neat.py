"""NEAT on tensors against neat-python: `python benchmarks/optim_neat.py [row ...]`.

Each side evolves its own population of 1000 genomes at the same rates and evaluates it its own way: ours all together,
the peer genome by genome, on cart and pole in gymnasium's environment. A generation is evaluation and evolution; times
are of the processor, in turns.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness import Benchmark, run_rows

from polyad.optim.neuroevolution import NEAT, Settings, forward
from polyad.problems.control import CART_POLE, XOR_INPUTS, XOR_TARGETS, returns, xor_fitness

SIZE, SEEDS = 1000, range(3)
XOR = Settings(activations=("steep_sigmoid",), add_node=0.2, add_connection=0.5)
CART = Settings()

CONFIGURATION = """
[NEAT]
pop_size = {size}
fitness_criterion = max
fitness_threshold = 1e9
reset_on_extinction = False
no_fitness_termination = True
[DefaultGenome]
num_inputs = {inputs}
num_outputs = {outputs}
num_hidden = 0
feed_forward = True
initial_connection = full_direct
compatibility_disjoint_coefficient = {settings.disjoint}
compatibility_weight_coefficient = {settings.difference}
conn_add_prob = {settings.add_connection}
conn_delete_prob = {settings.delete_connection}
node_add_prob = {settings.add_node}
node_delete_prob = {settings.delete_node}
single_structural_mutation = False
structural_mutation_surer = default
activation_default = {activation}
activation_mutate_rate = 0
activation_options = {activation}
aggregation_default = sum
aggregation_mutate_rate = 0
aggregation_options = sum
bias_init_mean = 0
bias_init_stdev = 1
bias_init_type = gaussian
bias_replace_rate = {settings.bias.replace}
bias_mutate_rate = {settings.bias.perturb}
bias_mutate_power = {settings.bias.step}
bias_max_value = 30
bias_min_value = -30
response_init_mean = 1
response_init_stdev = 0
response_init_type = gaussian
response_replace_rate = 0
response_mutate_rate = 0
response_mutate_power = 0
response_max_value = 30
response_min_value = -30
weight_init_mean = 0
weight_init_stdev = 1
weight_init_type = gaussian
weight_replace_rate = {settings.weight.replace}
weight_mutate_rate = {settings.weight.perturb}
weight_mutate_power = {settings.weight.step}
weight_max_value = 30
weight_min_value = -30
enabled_default = True
enabled_mutate_rate = {settings.toggle}
enabled_rate_to_true_add = 0
enabled_rate_to_false_add = 0
[DefaultSpeciesSet]
compatibility_threshold = {settings.threshold}
[DefaultStagnation]
species_fitness_func = max
max_stagnation = {settings.stagnation}
species_elitism = {settings.species_elitism}
[DefaultReproduction]
elitism = {settings.elitism}
survival_threshold = {settings.survival}
min_species_size = {settings.smallest_species}
"""


def xor() -> list[dict[str, object]]:
    """Exclusive or: generations of 1000 genomes, and how many are needed."""
    points = torch.tensor(XOR_INPUTS, dtype=torch.float64)

    def ours(neat: NEAT) -> torch.Tensor:
        return xor_fitness(forward(neat.ask(), points))

    def theirs(net: Any) -> float:
        errors = [(net.activate(x)[0] - y) ** 2 for x, y in zip(XOR_INPUTS, XOR_TARGETS, strict=True)]
        return -sum(errors) / 4

    return _rows(2, 1, XOR, "sigmoid", ours, theirs, generations=60, solved=-0.01)


def cart_pole() -> list[dict[str, object]]:
    """Cart and pole: generations of 1000 genomes, ours on vectorised environments, the peer's on gymnasium's."""
    gymnasium = _peer("gymnasium")
    start = CART_POLE.initial_states(1, seed=0)
    environment = gymnasium.make("CartPole-v1", disable_env_checker=True)
    environment.reset(seed=0)

    def ours(neat: NEAT) -> torch.Tensor:
        return returns(CART_POLE, neat.ask(), start)[:, 0]

    def theirs(net: Any) -> float:
        environment.reset()
        environment.unwrapped.state = start[0].numpy().copy()
        observation, total = start[0].tolist(), 0.0
        while True:
            left, right = net.activate(observation)
            observation, reward, ended, stopped, _ = environment.step(int(right > left))
            total += reward
            if ended or stopped:
                return total

    return _rows(4, 2, CART, "tanh", ours, theirs, generations=6, solved=499.5)


def _rows(
    inputs: int,
    outputs: int,
    settings: Settings,
    activation: str,
    ours: Callable[[NEAT], torch.Tensor],
    theirs: Callable[[Any], float],
    *,
    generations: int,
    solved: float,
) -> list[dict[str, object]]:
    """A row for each seed: mean time of a generation on both sides, first solution, mean fitness."""
    peer = _peer("neat")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "neat.ini"
        path.write_text(
            CONFIGURATION.format(size=SIZE, inputs=inputs, outputs=outputs, settings=settings, activation=activation)
        )
        configuration = peer.Config(
            peer.DefaultGenome, peer.DefaultReproduction, peer.DefaultSpeciesSet, peer.DefaultStagnation, str(path)
        )
    rows: list[dict[str, object]] = []
    for seed in SEEDS:
        random.seed(seed)
        population = peer.Population(configuration)
        neat = NEAT(inputs, outputs, size=SIZE, settings=settings, seed=seed)
        neat_copy = NEAT(inputs, outputs, size=SIZE, settings=settings, seed=seed)
        neat_copy.tell(ours(neat_copy))  # compiles what is not compiled yet
        times: dict[str, list[float]] = {"ours": [], "peer": []}
        best: dict[str, list[float]] = {"ours": [], "peer": []}
        mean: dict[str, list[float]] = {"ours": [], "peer": []}

        def evaluate(genomes: Any, config: Any, best: Any = best, mean: Any = mean) -> None:
            for _, genome in genomes:
                genome.fitness = theirs(peer.nn.FeedForwardNetwork.create(genome, config))
            values = [genome.fitness for _, genome in genomes]
            best["peer"].append(max(values))
            mean["peer"].append(statistics.fmean(values))

        for _ in range(generations):
            start = time.process_time()
            fitness = ours(neat)
            neat.tell(fitness)
            middle = time.process_time()
            population.run(evaluate, 1)
            times["ours"].append(middle - start)
            times["peer"].append(time.process_time() - middle)
            best["ours"].append(float(fitness.max()))
            mean["ours"].append(float(fitness.mean()))
            if min(best["ours"][-1], best["peer"][-1]) > solved and len(best["ours"]) >= 6:
                break
        spent = {name: statistics.fmean(values) for name, values in times.items()}
        row: dict[str, object] = {"seed": seed, "generations": len(times["ours"])}
        for name in ("ours", "peer"):
            row[f"{name} [ms]"] = 1e3 * spent[name]
        row["speed-up"] = spent["peer"] / spent["ours"]
        for name in ("ours", "peer"):
            first = next((k + 1 for k, value in enumerate(best[name]) if value > solved), None)
            row[f"{name} solved at"] = "not" if first is None else first
            row[f"{name} mean fitness"] = statistics.fmean(mean[name])
        rows.append(row)
    return rows


def _peer(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        sys.exit(f"the peer is absent: pip install {'neat-python' if name == 'neat' else name}")


REACH = ">= 20 x faster than neat-python at the same solution quality"
BENCHMARKS = {
    "xor": Benchmark("NEAT, XOR, generation of 1000 genomes", REACH, xor),
    "cart_pole": Benchmark("NEAT, cart and pole, generation of 1000 genomes", REACH, cart_pole),
}


if __name__ == "__main__":
    run_rows("optim_neat", BENCHMARKS)
