"""Levenberg-Marquardt on all weights of the network, with the dense Gauss-Newton matrix."""

from __future__ import annotations

import math
from typing import final

import torch

from polyad.optim import checks
from polyad.optim.second_order.input_gain import multiplies
from polyad.optim.second_order.input_gain.directions import gain_system, weight_jacobian
from polyad.optim.second_order.input_gain.network import BypassNetwork, Sweep
from polyad.optim.second_order.input_gain.trainers import TwoStageTrainer


@final
class LM(TwoStageTrainer):
    """(H + lam I) d = g over input and output weights at once, H = 2/N_v J^T J and g = -dE/dw.

    lam falls tenfold after a step that lowers E and rises tenfold after one that does not, which is tried again. The
    output weights are solved once, before the first step.

    Args:
        network: whose weights are trained, in place.
        damping: first lam.
        tries: of a step, before it is given up and `stalled` says so.

    Attributes:
        damping: lam of the next step.

    Raises:
        InputError: numbers that are not positive.
    """

    def __init__(self, network: BypassNetwork, *, damping: float = 1e-2, tries: int = 20) -> None:
        super().__init__(network)
        checks.check_positive(damping=damping, tries=tries)
        self.damping, self.tries = damping, tries

    def _advance(self, sweep: Sweep) -> Sweep:
        network = self.network
        system = gain_system(weight_jacobian(sweep), sweep)
        self.multiplies += multiplies.levenberg_system(sweep.sizes)
        inward, outputs = network.inward.detach().clone(), network.output_weights
        for _ in range(self.tries):
            damped = system.hessian + self.damping * torch.eye(len(system.hessian)).to(system.hessian)
            factor, failed = torch.linalg.cholesky_ex(damped)
            self.multiplies += multiplies.solve(len(damped))
            if not int(failed):
                change = torch.cholesky_solve(system.gradient[:, None], factor)[:, 0]
                of_inward, of_outputs = change.split([inward.numel(), outputs.numel()])
                network.inward.copy_(inward + of_inward.view_as(inward))
                network.set_output_weights(outputs + of_outputs.view_as(outputs))
                trial = self._swept(sweep.features, sweep.targets)
                if math.isfinite(trial.error) and trial.error < sweep.error:
                    self.damping /= 10
                    return trial
            self.damping *= 10
        network.inward.copy_(inward)
        network.set_output_weights(outputs)
        self.stalled = True
        return sweep

    def _state_names(self) -> tuple[str, ...]:
        return (*super()._state_names(), "damping")
