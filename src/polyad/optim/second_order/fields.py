"""Fitting a coordinate network to a signal with curvature: L-BFGS, Gauss-Newton or, for comparison, Adam.

The whole signal is one batch, so the loss is one smooth function, and what first-order training spends on following a
stiff landscape pays for curvature. The record holds quality against closure calls and against time.

Source: H. Saratchandran, S.-F. Chng, S. Ramasinghe, L. MacDonald, S. Lucey, ICCV 2023, arXiv:2305.08552.

*When not to use it*: for signals that do not fit into one batch (there `LBFGS.step` takes overlaps of batches).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import ConvergenceError, InputError
from polyad.linalg.lanczos import extreme_eigenpairs
from polyad.optim import checks
from polyad.optim.curvature.products import flat_operator, flatten, hessian_operator
from polyad.optim.second_order.gauss_newton import GaussNewton
from polyad.optim.second_order.lbfgs import LBFGS

METHODS = ("lbfgs", "gauss_newton", "adam")
"""Names of the optimisers."""


def psnr(mean_square_error: float, *, peak: float = 1.0) -> float:
    """Peak signal to noise ratio in dB, 10 lg(peak^2 / error); inf for an error of 0, -inf for none that is finite."""
    if not math.isfinite(mean_square_error):
        return -math.inf
    return math.inf if mean_square_error == 0 else 10 * math.log10(peak * peak / mean_square_error)


@final
@dataclass(frozen=True)
class FitRecord:
    """A fit as it went, one entry for every state of the network whose error was computed.

    Args:
        evaluations: loss-and-gradient evaluations, or equal work, up to and including this one.
        seconds: since the start.
        psnr: dB.
    """

    evaluations: tuple[int, ...]
    seconds: tuple[float, ...]
    psnr: tuple[float, ...]

    @property
    def best(self) -> float:
        """Largest ratio, dB."""
        return max(self.psnr, default=-math.inf)

    def evaluations_to(self, level: float) -> int | None:
        """Evaluations until this many dB were first reached, or None."""
        return next((n for n, value in zip(self.evaluations, self.psnr, strict=True) if value >= level), None)

    def seconds_to(self, level: float) -> float | None:
        """Seconds until this many dB were first reached, or None."""
        return next((s for s, value in zip(self.seconds, self.psnr, strict=True) if value >= level), None)


@final
class CurvatureAwareFit:
    """Fits values at coordinates by the mean square error; `run` may be called again to go on.

    Args:
        model: coordinates -> values.
        coordinates: what the model takes, (n, dimensions) for a plain network.
        values: what it should give.
        optimizer: one of `METHODS`.
        lr: of Adam, and first step of L-BFGS' searches; 1e-3 and 1 if not given.
        history: pairs of L-BFGS.
        blocks: of L-BFGS, the number of patches where every parameter counts them first.
        peak: of the signal, for the ratio.
        clock: gives seconds.

    Raises:
        InputError: an unknown optimiser, or values of another shape than the model's.
    """

    def __init__(
        self,
        model: nn.Module,
        coordinates: Float[Tensor, "..."],
        values: Float[Tensor, "..."],
        *,
        optimizer: str = "lbfgs",
        lr: float | None = None,
        history: int = 100,
        blocks: int = 1,
        peak: float = 1.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if optimizer not in METHODS:
            raise InputError(f"optimizer: {optimizer!r} is unknown; choose one of {', '.join(METHODS)}")
        checks.check_positive(peak=peak)
        with torch.no_grad():
            shape = model(coordinates[:1] if coordinates.ndim == 2 and blocks == 1 else coordinates).shape
        if shape[1:] != values.shape[1:] or len(coordinates) != len(values):
            raise InputError(
                f"values: have shape {tuple(values.shape)}; the model gives {(len(coordinates), *shape[1:])}"
            )
        self.model, self.coordinates, self.values = model, coordinates, values
        self.peak, self.clock, self.method = peak, clock, optimizer
        self.evaluations, self.elapsed = 0, 0.0
        self.optimizer: Any
        if optimizer == "lbfgs":
            self.optimizer = LBFGS(model.parameters(), lr=lr or 1.0, history=history, full_batch=True, blocks=blocks)
        elif optimizer == "adam":
            self.optimizer = torch.optim.Adam(model.parameters(), lr=lr or 1e-3)
        else:
            self.optimizer = GaussNewton(model)
        self._trace: list[tuple[int, float, float]] = []
        self._started = 0.0

    def run(
        self,
        *,
        evaluations: int,
        target: float = math.inf,
        seconds: float = math.inf,
        progress: Callable[[int, int], None] | None = None,
    ) -> FitRecord:
        """Fit until a budget is spent, the target is reached, or nothing lowers the error any more.

        Args:
            evaluations: stop after so many more; the last step is finished.
            target: dB at which to stop.
            seconds: stop after so many more.
            progress: called after every step with (evaluations done, evaluations allowed).

        Returns:
            The record from the first run on.

        Raises:
            ConvergenceError: the error is not finite.
        """
        first, begin = self.evaluations, self.elapsed
        self._started = self.clock() - self.elapsed
        while self.evaluations - first < evaluations and self.elapsed - begin < seconds:
            self._step()
            self.elapsed = self.clock() - self._started
            if progress is not None:
                progress(min(self.evaluations - first, evaluations), evaluations)
            if any(value >= target for _, _, value in self._trace[-50:]) or getattr(self.optimizer, "stalled", False):
                break
        return self.record()

    def record(self) -> FitRecord:
        """What was recorded so far."""
        columns = zip(*self._trace, strict=True) if self._trace else ((), (), ())
        counts, seconds, ratios = (tuple(column) for column in columns)
        return FitRecord(counts, seconds, ratios)

    def top_curvature(self, *, steps: int = 20, seed: int = 0) -> float:
        """Largest eigenvalue of the Hessian of the loss at the network as it is, by Lanczos."""
        parameters = [p for p in self.model.parameters() if p.requires_grad and p.numel()]
        operator = flat_operator(hessian_operator(self._loss(), parameters), parameters)
        size = sum(p.numel() for p in parameters)
        generator = torch.Generator().manual_seed(seed)
        pairs = extreme_eigenpairs(
            operator, size, largest=1, steps=min(steps, size), generator=generator, device=parameters[0].device
        )
        return float(pairs.values[0])

    def gradient_lipschitz(self, *, radius: float = 1e-3, directions: int = 8, seed: int = 0) -> float:
        """Largest |grad L(theta + d) - grad L(theta)| / |d| over random directions d of length radius * |theta|."""
        parameters: list[Tensor] = [p for p in self.model.parameters() if p.requires_grad and p.numel()]
        generator = torch.Generator().manual_seed(seed)
        here = flatten(torch.autograd.grad(self._loss(), parameters))
        kept = [p.detach().clone() for p in parameters]
        length = radius * float(flatten(kept).norm())
        found = 0.0
        try:
            for _ in range(directions):
                moves = [torch.randn(p.shape, generator=generator).to(p) for p in parameters]
                scale = length / float(flatten(moves).norm())
                with torch.no_grad():
                    torch._foreach_copy_(parameters, torch._foreach_add(kept, moves, alpha=scale))
                there = flatten(torch.autograd.grad(self._loss(), parameters))
                found = max(found, float((there - here).norm()) / length)
        finally:
            with torch.no_grad():
                torch._foreach_copy_(parameters, kept)
        return found

    def _loss(self) -> Tensor:
        return (self.model(self.coordinates) - self.values).square().mean()

    def _closure(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = self._loss()
        loss.backward()
        self.evaluations += 1
        self._note(float(loss.detach()))
        return loss

    def _note(self, loss: float) -> None:
        self._trace.append((self.evaluations, self.clock() - self._started, psnr(loss, peak=self.peak)))

    def _step(self) -> None:
        if self.method != "gauss_newton":
            loss = float(self.optimizer.step(self._closure).detach())
        else:
            scale = (2 / self.values.numel()) ** 0.5  # |r|^2 / 2 is the mean square
            before = self.optimizer.evaluations + self.optimizer.products
            self.optimizer.step(
                lambda p: scale * (torch.func.functional_call(self.model, p, (self.coordinates,)) - self.values)
            )
            self.evaluations += self.optimizer.evaluations + self.optimizer.products - before
            with torch.no_grad():
                loss = float(self._loss())
            self._note(loss)
        if not math.isfinite(loss):
            raise ConvergenceError(f"{self.method}: the error is {loss}; lower the learning rate")
