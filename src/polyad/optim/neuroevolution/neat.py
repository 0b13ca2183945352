"""The evolution: ask for a population, measure its fitness, tell it, and so on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_path
from polyad.optim.neuroevolution.engines import Engine
from polyad.optim.neuroevolution.population import (
    Population,
    initial_population,
    packed,
    resized,
    trimmed,
)
from polyad.optim.neuroevolution.reproduction import choose_parents, reproduce
from polyad.optim.neuroevolution.settings import NumberRates, Settings
from polyad.optim.neuroevolution.species import Species, after_fitness, no_species, spawn_numbers, speciate

_FORMAT = "polyad-neat"
_INTEGERS = ("inputs", "outputs", "size", "generation")


@final
class NEAT:
    """Evolves the structure and the weights of networks, a whole population in one tensor.

        neat = NEAT(inputs=2, outputs=1, size=1000, seed=0)
        for _ in range(200):
            population = neat.ask()
            fitness = -(forward(population, x) - y).square().mean((1, 2))
            neat.tell(fitness)
        neat.best  # a population of one

    It is no `torch.optim.Optimizer`: nothing has a gradient. All of its state is in `state_dict()`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        size: int = 150,
        settings: Settings | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        engine: Engine = "auto",
    ) -> None:
        """A first population, sorted into species.

        Args:
            inputs: number of inputs of every network.
            outputs: number of outputs.
            size: number of genomes.
            settings: rates and limits.
            seed: of everything random.
            dtype: of the genomes; float32 holds keys of nodes up to 2^24 exactly.
            device: where genomes live and evolve.
            engine: array operations or loops over genomes; the evolution is the same.

        Raises:
            InputError: the first genomes do not fit into the rows allowed, or a number is not positive.
        """
        self.settings = settings or Settings()
        self.inputs, self.outputs, self.size, self.generation = inputs, outputs, size, 0
        self.engine = engine
        self.generator = torch.Generator(device).manual_seed(seed)
        if outputs > self.settings.maximum_nodes or inputs * outputs > self.settings.maximum_connections:
            raise InputError(
                f"settings: {outputs} outputs and {inputs * outputs} connections do not fit into "
                f"{self.settings.maximum_nodes} nodes and {self.settings.maximum_connections} connections; allow more"
            )
        if size < self.settings.smallest_species:
            raise InputError(f"size: {size}, must be at least smallest_species, {self.settings.smallest_species}")
        if not dtype.is_floating_point:
            raise InputError(f"dtype: got {dtype}; choose float32 or float64")
        self._population = initial_population(
            size,
            inputs,
            outputs,
            generator=self.generator,
            deviation=self.settings.weight.deviation,
            aggregation=self.settings.aggregation_numbers[0],
            activation=self.settings.activation_numbers[0],
            dtype=dtype,
        )
        self._best: Population = self._population[:1]
        self._best_fitness = -float("inf")
        self._centres: Population | None = None
        self.species: Species = no_species(self.settings.maximum_species, device=self._population.nodes.device)
        self.membership: Int[Tensor, " genomes"]
        self._speciate()

    def ask(self, *, fixed_shape: bool = False) -> Population:
        """The population whose fitness is wanted.

        Args:
            fixed_shape: with all rows that are allowed, in every generation; else with those of the largest genome.
        """
        if fixed_shape:
            return resized(self._population, self.settings.maximum_nodes, self.settings.maximum_connections)
        return self._population

    @torch.no_grad()
    def tell(self, fitness: Float[Tensor, " genomes"]) -> None:
        """Take the fitness of the population that `ask` gave, the larger the better, and go on to its children.

        Raises:
            InputError: no real tensor of one number a genome, or one that is not finite; nothing has changed then.
        """
        if not isinstance(fitness, Tensor) or fitness.shape != (self.size,) or not fitness.is_floating_point():
            given = (
                f"shape {tuple(fitness.shape)}, {fitness.dtype}"
                if isinstance(fitness, Tensor)
                else type(fitness).__name__
            )
            raise InputError(f"fitness: {given}; must be a real tensor ({self.size},), one number a genome")
        wrong = ~fitness.isfinite()
        if bool(wrong.any()):
            raise InputError(
                f"fitness: {float(fitness[wrong][0])} for genome {int(wrong.int().argmax())}; "
                "give genomes that fail a finite fitness below all others"
            )
        fitness = fitness.detach().to(self._population.nodes.device)
        top = int(fitness.argmax())
        if float(fitness[top]) > self._best_fitness:
            self._best, self._best_fitness = self._population[top : top + 1], float(fitness[top])
        options = self.settings
        self.species, goes_on, highest, mean = after_fitness(
            self.species, self.membership, fitness, options, generation=self.generation
        )
        children = spawn_numbers(
            goes_on,
            self.species.sizes,
            highest if options.spawn == "rank" else mean,
            self.size,
            method=options.spawn,
            change=options.spawn_change,
            smallest=options.smallest_species,
        )
        nodes, connections = self._population.nodes.shape[1], self._population.connections.shape[1]
        # room for what one mutation may add: a node with two connections, and a connection
        population = resized(
            self._population,
            min(nodes + 1, options.maximum_nodes),
            min(connections + 3, options.maximum_connections),
        )
        chance = torch.rand(self.size, 2, generator=self.generator, device=fitness.device, dtype=population.nodes.dtype)
        parents = choose_parents(
            self.membership, fitness, children, chance, survival=options.survival, elitism=options.elitism
        )
        bred = reproduce(population, parents, options, generator=self.generator, engine=self.engine)
        self._population = trimmed(packed(bred, engine=self.engine))
        self.generation += 1
        self._speciate()

    @property
    def best(self) -> Population:
        """The best genome that was ever told, as a population of one (before any was told, the first)."""
        return self._best

    @property
    def best_fitness(self) -> float:
        """Its fitness; -inf before any was told."""
        return self._best_fitness

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the evolution goes on: tensors, numbers, settings."""
        tensors = {
            "nodes": self._population.nodes,
            "connections": self._population.connections,
            "best_nodes": self._best.nodes,
            "best_connections": self._best.connections,
            "membership": self.membership,
            "generator": self.generator.get_state(),
        }
        assert self._centres is not None
        tensors |= {"centre_nodes": self._centres.nodes, "centre_connections": self._centres.connections}
        tensors |= {f"species_{name}": value for name, value in self.species.tensors().items()}
        numbers = {name: getattr(self, name) for name in _INTEGERS}
        return {
            "tensors": {name: value.clone() for name, value in tensors.items()},
            "numbers": numbers | {"best_fitness": self._best_fitness},
            "settings": asdict(self.settings),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the evolution from which `state` comes would.

        Raises:
            InputError: a state of another task, size, kind or dtype; nothing has changed then.
        """
        own = self.state_dict()
        missing = [part for part in own if part not in state]
        missing += [f"{part} {name}" for part in own if part in state for name in own[part] if name not in state[part]]
        if missing:
            raise InputError(f"state: lacks {', '.join(missing)}; give what state_dict() of NEAT returned")
        numbers = state["numbers"]
        for name in ("inputs", "outputs", "size"):
            if numbers[name] != getattr(self, name):
                raise InputError(f"state: {name} is {numbers[name]}, here it is {getattr(self, name)}; build it alike")
        dtype = state["tensors"]["nodes"].dtype
        if dtype != self._population.nodes.dtype:
            raise InputError(f"state: dtype is {dtype}, here it is {self._population.nodes.dtype}; build it alike")
        device = self._population.nodes.device
        tensors = {
            name: value.clone() if name == "generator" else value.to(device, copy=True)
            for name, value in state["tensors"].items()
        }
        self.settings = _settings(state["settings"])
        self.generation, self._best_fitness = numbers["generation"], float(numbers["best_fitness"])
        self._population = self._genomes(tensors["nodes"], tensors["connections"])
        self._best = self._genomes(tensors["best_nodes"], tensors["best_connections"])
        self._centres = self._genomes(tensors["centre_nodes"], tensors["centre_connections"])
        self.membership = tensors["membership"]
        self.species = Species(*(tensors[f"species_{name}"] for name in self.species.tensors()))
        self.generator.set_state(tensors["generator"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as one safetensors file, whole or not at all."""
        from safetensors.torch import save_file

        state = self.state_dict()
        tensors = {name: value.cpu().contiguous() for name, value in state["tensors"].items()}
        header = {"numbers": state["numbers"], "settings": state["settings"]}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={_FORMAT: json.dumps(header)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> NEAT:
        """The evolution that `save` wrote.

        Raises:
            FileFormatError: no such file, or one that `save` did not write.
        """
        from safetensors import SafetensorError, safe_open

        name = os.fspath(path)
        if not os.path.isfile(name):
            raise FileFormatError(name, "there is no such file; give one that NEAT.save wrote")
        try:
            with safe_open(name, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get(_FORMAT, "null"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        except (SafetensorError, OSError, ValueError) as error:
            raise FileFormatError(name, f"is no readable safetensors file ({error}); save it again") from error
        if not isinstance(header, dict):
            raise FileFormatError(name, "holds no evolution (its header does not say so); give what NEAT.save wrote")
        try:
            numbers = header["numbers"]
            neat = cls(
                numbers["inputs"],
                numbers["outputs"],
                size=numbers["size"],
                settings=_settings(header["settings"]),
                dtype=tensors["nodes"].dtype,
                device=device,
            )
            neat.load_state_dict({"tensors": tensors, **header})
        except (KeyError, TypeError, RuntimeError) as error:
            raise FileFormatError(name, f"lacks a part of an evolution ({error}); save it again") from error
        return neat

    def _genomes(self, nodes: Tensor, connections: Tensor) -> Population:
        return Population(nodes, connections, self.inputs, self.outputs)

    def _speciate(self) -> None:
        self.membership, self.species = speciate(
            self._population, self.species, self._centres, self.settings, generation=self.generation, engine=self.engine
        )
        self._centres = self._population[self.species.centres]


def _settings(values: dict[str, Any]) -> Settings:
    """Settings from JSON, where tuples are lists and rates are tables."""
    made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    rates = {name: NumberRates(**made[name]) for name in ("weight", "bias", "response")}
    return Settings(**made | rates)
