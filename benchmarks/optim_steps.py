"""Optimisers beside those of `optim.py`: norms, curvature, several losses, training from host memory.

`python benchmarks/optim_steps.py [row ...]`: the names of rows are at the foot of this file. Times are processor time
on one thread, taken in turns. Peers: heavyball and curvlinops-for-pytorch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from harness import Benchmark, run_rows
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from polyad.claims.timing import median_seconds, one_thread
from polyad.linalg.matrix_roots import polar_factor
from polyad.optim.curvature.products import hessian_operator
from polyad.optim.multiscale import MultiAdam
from polyad.optim.norms import ModularSteepestDescent, SteepestDescent, recommend_norms
from polyad.optim.racing.course import state_bytes
from polyad.optim.second_order import FOSI, LBFGS
from polyad.optim.zeroth_order.mezo import PIECE, MeZO
from polyad.optim.zeroth_order.offload import ZO2Trainer
from polyad.pde.pinn import poisson_2d
from polyad.problems.text import CharacterTransformer, encoded_documentation
from polyad.problems.training import find_training

Row = dict[str, object]
ROWS, CONTEXT, FOSI_EVERY = 16, 32, 100  # the last: steps between spectra


def transformer(width: int = 128, layers: int = 2, context: int = CONTEXT) -> CharacterTransformer:
    """Over the characters of the standard library's documentation, the same weights each time."""
    torch.manual_seed(0)
    return CharacterTransformer(len(encoded_documentation().characters), context=context, width=width, layers=layers)


def muon(model: nn.Module) -> torch.optim.Optimizer:
    """The peer's, without compiling: neither is ours compiled."""
    import heavyball

    heavyball.utils.compile_mode = None
    return heavyball.Muon(model.parameters(), lr=1e-6)


BUILDS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "AdamW (torch)": lambda m: torch.optim.AdamW(m.parameters(), lr=1e-6),
    "spectral norms, momentum": lambda m: SteepestDescent(recommend_norms(m), lr=1e-6, scale="unit", momentum=0.9),
    "modular norm": lambda m: ModularSteepestDescent(recommend_norms(m), lr=1e-6),
    "Muon (heavyball)": muon,
    "FOSI, 10 pairs": lambda m: FOSI(m.parameters(), lr=1e-6, alpha=1e-6, every=None),
    "L-BFGS": lambda m: LBFGS(m.parameters(), lr=1e-2, history=20),
    "L-BFGS (torch)": lambda m: torch.optim.LBFGS(
        m.parameters(), lr=1e-2, max_iter=1, history_size=20, line_search_fn="strong_wolfe"
    ),
}


class Trained:
    """A model with its optimiser and one batch of 512 characters, past the first step."""

    def __init__(self, build: Callable[[nn.Module], torch.optim.Optimizer], batch: tuple[Tensor, Tensor]) -> None:
        self.model, self.batch, self.evaluations, self.steps = transformer(), batch, 0, 0
        self.optimizer = build(self.model)
        self.step()
        self.evaluations = self.steps = 0

    def closure(self) -> Any:
        self.optimizer.zero_grad()
        inputs, targets = self.batch
        loss = F.cross_entropy(self.model(inputs), targets)
        loss.backward()
        self.evaluations += 1
        return loss

    def step(self) -> None:
        self.optimizer.step(self.closure)
        self.steps += 1


def norms() -> list[Row]:
    """A training step under norms, and of methods that look at curvature."""
    batch = encoded_documentation().draw(ROWS, CONTEXT, generator=torch.Generator().manual_seed(0))
    with one_thread():
        trained = {name: Trained(build, batch) for name, build in BUILDS.items()}
        hybrid = trained["FOSI, 10 pairs"]
        start = time.process_time()
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernel has no second derivative
            loss = F.cross_entropy(hybrid.model(batch[0]), batch[1])
        assert isinstance(hybrid.optimizer, FOSI)
        hybrid.optimizer.update_spectrum(loss)
        renewal = time.process_time() - start
        plain = median_seconds({name: one.step for name, one in trained.items()}, repeats=7)
    rows: list[Row] = []
    for name, one in trained.items():
        seconds = plain[name] + (renewal / FOSI_EVERY if one is hybrid else 0.0)
        rows.append(
            {
                "optimiser": name,
                "ms a step": 1e3 * seconds,
                "without updates ms": 1e3 * plain[name],
                "ratio to AdamW": seconds / plain["AdamW (torch)"],
                "gradients a step": one.evaluations / one.steps,
                "state MB": state_bytes(one.optimizer) / 1e6,
            }
        )
    return rows


def products() -> list[Row]:
    """Product of the Hessian of a perceptron's loss with a vector, beside curvlinops'."""
    from curvlinops import HessianLinearOperator

    problem = find_training("glyphs-mlp").make(0)
    model, parameters = problem.model, list(problem.model.parameters())
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(512, 1, 16, 16, generator=generator), torch.randint(10, (512,), generator=generator)
    vector = [torch.randn(p.shape, generator=generator) for p in parameters]
    flat = torch.cat([v.reshape(-1) for v in vector])
    peer = HessianLinearOperator(
        model, nn.CrossEntropyLoss(), parameters, [(images, labels)],
        progressbar=False, check_deterministic=False,
    )  # fmt: skip

    def operator() -> Callable[[Any], Any]:
        return hessian_operator(F.cross_entropy(model(images), labels), parameters)

    with one_thread():
        kept = operator()
        calls: dict[str, Callable[[], object]] = {
            "ours, graph kept": lambda: kept(vector),
            "ours, graph built for one product": lambda: operator()(vector),
            "curvlinops": lambda: peer @ flat,
        }
        seconds = median_seconds(calls, repeats=15)
    expected = peer @ flat
    found = torch.cat([part.reshape(-1) for part in kept(vector)])
    error = float((found - expected).norm() / expected.norm())
    return [
        {"product": name, "ms": 1e3 * time, "speed-up": seconds["curvlinops"] / time, "difference": error}
        for name, time in seconds.items()
    ]


def losses() -> list[Row]:
    """A step of MultiAdam with two losses, a backward pass for each, beside Adam on their sum."""
    equation, generator = poisson_2d(side=0.125), torch.Generator().manual_seed(0)
    models = {name: find_training("poisson").make(0).model for name in ("Adam (torch)", "MultiAdam")}
    inside, outside = equation.interior(128, generator), equation.boundary(48, generator)
    adam = torch.optim.Adam(models["Adam (torch)"].parameters(), lr=1e-6)
    multi = MultiAdam(models["MultiAdam"].parameters(), lr=1e-6)

    def one() -> None:
        adam.zero_grad()
        sum(equation.losses(models["Adam (torch)"], inside, outside)).backward()  # type: ignore[union-attr]
        adam.step()

    with one_thread():
        calls: dict[str, Callable[[], object]] = {
            "Adam (torch)": one,
            "MultiAdam": partial(multi.step, partial(equation.losses, models["MultiAdam"], inside, outside)),
        }
        seconds = median_seconds(calls, repeats=25)
    return [
        {
            "optimiser": name,
            "ms a step": 1e3 * time,
            "ratio to Adam": time / seconds["Adam (torch)"],
            "state kB": state_bytes(optimizer) / 1e3,
        }
        for (name, time), optimizer in zip(seconds.items(), (adam, multi), strict=True)
    ]


def polar() -> list[Row]:
    """Newton-Schulz beside singular value decomposition, on matrices whose singular values lie in [0.05, 1]."""
    rows: list[Row] = []
    with one_thread():
        for size in (64, 128, 256):
            generator = torch.Generator().manual_seed(size)
            left, right = (
                torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0] for _ in range(2)
            )
            matrix = (left * torch.linspace(0.05, 1, size, dtype=torch.float64)) @ right
            error = float((polar_factor(matrix, method="cubic", steps=18) - left @ right).abs().max())
            values = torch.linalg.svdvals(polar_factor(matrix, method="quintic", steps=5))
            short = matrix.float()
            seconds = median_seconds(
                {method: partial(polar_factor, short, method=method) for method in ("svd", "cubic", "quintic")},
                repeats=5,
            )
            rows.append(
                {
                    "size": size,
                    "cubic, 18 steps: error": error,
                    "quintic, 5 steps: smallest": float(values.min()),
                    "largest": float(values.max()),
                    **{f"{method} ms (float32)": 1e3 * time for method, time in seconds.items()},
                }
            )
    return rows


class Embedding(nn.Module):
    """The part of the transformer before its blocks."""

    def __init__(self, model: CharacterTransformer) -> None:
        super().__init__()
        self.table, self.place = model.table, model.place

    def forward(self, codes: Tensor) -> Tensor:
        embedded: Tensor = self.table(codes) + self.place
        return embedded


def host_memory() -> list[Row]:
    """Zeroth-order training of a model that stays in host memory; the device holds two or three of its blocks."""
    text = encoded_documentation()
    inputs, targets = text.draw(2, CONTEXT, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"lr": 1e-7, "eps": 1e-3, "seed": 0}

    def loss(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.mT, targets)

    plain = transformer(width=416, layers=24)
    memory = MeZO(plain.parameters(), **options)
    expected = [float(memory.step(lambda: F.cross_entropy(plain(inputs), targets))) for _ in range(2)]
    rows: list[Row] = []
    for slots in (2, 3):
        model = transformer(width=416, layers=24)
        blocks = [Embedding(model), *model.blocks, model.head]
        block = max(sum(t.nbytes for t in part.state_dict().values()) for part in blocks[1:-1])
        with one_thread(), ZO2Trainer(blocks, device_slots=slots, **options) as trainer:
            found = [trainer.step(inputs, loss) for _ in range(2)]
            pinned = trainer.model_bytes - block * len(model.blocks)
            bound = slots * block + pinned + trainer.activation_bytes + 4 * PIECE
            peak, whole = trainer.peak_device_bytes, trainer.model_bytes
        different = sum(int((a != b).sum()) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
        rows.append(
            {
                "slots": slots,
                "model MB": whole / 1e6,
                "peak MB": peak / 1e6,
                "slots x block + pinned + activations + noise MB": bound / 1e6,
                "within": peak <= bound,
                "losses that differ from MeZO": sum(a != b for a, b in zip(found, expected, strict=True)),
                "parameters that differ": different,
            }
        )
    return rows


BENCHMARKS = {
    "norms": Benchmark(
        "Training step under norms and with curvature, transformer of 2 layers, width 128, on 512 characters",
        "no slower than a peer with the same method (Muon for spectral norms, torch for L-BFGS)",
        norms,
    ),
    "products": Benchmark(
        "Hessian of a perceptron's loss on 512 images, times a vector", "no slower than curvlinops", products
    ),
    "losses": Benchmark(
        "Step with two losses, physics-informed network on a square", "a backward pass more than Adam", losses
    ),
    "polar": Benchmark(
        "Orthogonal factor of a matrix by Newton-Schulz",
        "cubic within 1e-4 of the SVD's after 18 steps up to 256 x 256; quintic in 5 steps leaves singular values in "
        "[0.68, 1.14]",
        polar,
    ),
    "host_memory": Benchmark(
        "Zeroth-order training from host memory (more in [the claim](scoreboard.md))",
        "peak device memory <= slots x largest block + pinned embedding and head + activations; equal to plain "
        "zeroth-order to the bit",
        host_memory,
    ),
}

if __name__ == "__main__":
    run_rows("optim_steps", BENCHMARKS)
