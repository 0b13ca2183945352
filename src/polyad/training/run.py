"""Model, optimiser and moving average of one run: what a step does to them, how they are scored, kept and restored."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from polyad.errors import InputError, TrainingError
from polyad.training.averaging import MovingAverage
from polyad.training.batches import Dataset, own_share
from polyad.training.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from polyad.training.processes import Processes, distribute, set_whole_states, whole_states
from polyad.training.schedules import Schedule

Loss = Callable[[nn.Module, Any], Tensor]
"""Model and batch -> mean over the batch's samples."""

Metrics = Callable[[nn.Module, Any], Mapping[str, Tensor]]
"""Model and batch -> named means over the batch's samples."""

LAST, BEST = "last.safetensors", "best.safetensors"


@final
@dataclass(frozen=True)
class State:
    """Where a run stands between two steps."""

    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0  # since the last row of metrics
    loss_count: int = 0
    best: float = math.inf
    best_step: int = 0
    without_gain: int = 0


@final
class Run:
    """Model, optimiser and average of one run, and how a step changes them."""

    def __init__(
        self,
        *,
        model: nn.Module,
        loss: Loss,
        metrics: Metrics | None,
        device: torch.device,
        dtype: torch.dtype,
        autocast: bool,
        processes: Processes,
        strategy: str,
        compile: bool,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        schedule: Schedule,
        clip_norm: float | None,
        ema: float | None,
        seed: int,
        folder: Path | None,
    ) -> None:
        self.model, self.loss, self.metrics = model, loss, metrics
        self.device, self.dtype, self.autocast = device, dtype, autocast
        self.processes, self.sharded = processes, strategy == "fsdp" and processes.count > 1
        self.clip_norm, self.schedule, self.seed, self.folder = clip_norm, schedule, seed, folder
        self.trained = distribute(model, processes, strategy)
        if compile:
            self.trained = torch.compile(self.trained, dynamic=True)  # type: ignore[assignment]
        self.optimizer = optimizer([p for p in model.parameters() if p.requires_grad])
        self.base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.average = None if ema is None else MovingAverage(model, ema)
        self.facts: dict[str, Any] = {}
        self._best: dict[str, Tensor] | None = None

    # ------------------------------------------------------------------ steps

    def set_rate(self, progress: float) -> float:
        """Set the learning rates for this progress; returns the first."""
        factor = self.schedule(progress)
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * factor
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, batch: Any, weight: float, step: int, numbers: Tensor) -> float:
        """One step of the optimiser; returns the mean loss of all processes."""
        self._draw_from(step)
        self.trained.train()
        self.optimizer.zero_grad(set_to_none=True)
        value = self._measure(self.loss, batch)
        if value.ndim:
            raise InputError(f"loss: must be a scalar, the mean over the batch; it has shape {tuple(value.shape)}")
        own = float(value.detach())
        mean = self.processes.sum([own * weight], self.device)[0] / self.processes.count
        if not math.isfinite(mean):
            raise self._not_finite(step, batch, numbers, own)
        (value * weight if weight != 1.0 else value).backward()
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model, step + 1)
        return mean

    def validate(self, data: Dataset, batch_size: int, step: int) -> dict[str, float]:
        """Means over all samples, with the averaged weights if there are."""
        self._draw_from(-1 - step)
        self.trained.eval()
        rank, count = self.processes.rank, self.processes.count
        sums: dict[str, float] = {"loss": 0.0}
        samples = 0
        with self.average.applied_to(self.model) if self.average is not None else nullcontext():
            for low in range(0, len(data), batch_size):
                share, weight = own_share(torch.arange(low, min(low + batch_size, len(data))), rank, count)
                batch, size = data[share], len(share) if weight else 0
                # models that give forces differentiate inside, so gradients stay on
                scores = {"loss": self._measure(self.loss, batch).detach()}
                if self.metrics is not None:
                    scores |= {name: x.detach() for name, x in self._measure(self.metrics, batch).items()}
                for name, value in scores.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * size
                samples += size
        total = self.processes.sum([*sums.values(), float(samples)], self.device)
        return {name: value / total[-1] for name, value in zip(sums, total, strict=False)}

    def judge(self, state: State, score: float) -> State:
        """Keep the weights if they are the best so far."""
        if not score < state.best:
            return replace(state, without_gain=state.without_gain + 1)
        state = replace(state, best=score, best_step=state.step, without_gain=0)
        if self.sharded:
            weights = whole_states(self.trained, self.optimizer)[0]
        else:
            weights = self.average.average if self.average is not None else self.model.state_dict()
        self._best = {name: value.detach().cpu().clone() for name, value in weights.items()}
        if self.folder is not None and self.processes.leads:
            facts = {**self.facts, "step": state.step, "validation_loss": score}
            save_checkpoint(self.folder / BEST, Checkpoint(self._best, facts=facts))
        return state

    def _draw_from(self, step: int) -> None:
        """Everything that the model draws is a function of seed, step and process."""
        torch.manual_seed(((self.seed * 1_000_003 + step) * 65_537 + self.processes.rank) % 2**63)

    def _measure(self, measure: Callable[[nn.Module, Any], Any], batch: Any) -> Any:
        batch = _moved(batch, self.device, self.dtype)
        # DDP's wrapper expects a backward pass after every forward pass, so validation goes around it
        model = self.trained if self.trained.training or self.sharded or self.processes.count == 1 else self.model
        with torch.autocast(self.device.type, dtype=torch.bfloat16) if self.autocast else nullcontext():
            return measure(model, batch)

    def _not_finite(self, step: int, batch: Any, numbers: Tensor, value: float) -> TrainingError:
        some = ", ".join(map(str, numbers[:8].tolist())) + (", ..." if len(numbers) > 8 else "")
        some += "".join(f" ({name}, ...)" for name in list(getattr(batch, "names", ()))[:1])
        kept = "" if self.folder is None else f"; the checkpoint before it is {self.folder / LAST}"
        return TrainingError(
            f"the loss is {value} at step {step + 1}, for samples {some}: look at their "
            f"targets, lower the learning rate or clip gradients{kept}"
        )

    # ------------------------------------------------------------------ states

    def restore(self, facts: Mapping[str, Any], options: dict[str, Any]) -> State:
        """The state of the folder's checkpoint, or a fresh one."""
        self.facts = {**facts, "run": options}
        if self.folder is None:
            return State()
        if self.processes.leads:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"folder: {self.folder} cannot be made ({error.strerror}); choose another") from error
        self.processes.wait()
        path = self.folder / LAST
        if not path.exists():
            return State()
        found = load_checkpoint(path)
        if found.facts.get("run") != options:
            raise InputError(
                f"folder: {path} is of a run with {found.facts.get('run')}, this one has {options}; use another "
                "folder, or remove it to start afresh"
            )
        if self.sharded:
            set_whole_states(self.trained, self.optimizer, found.model, found.states["optimizer"])
        else:
            load_weights(self.model, found.model, source=str(path))
            _load_optimizer(self.optimizer, found.states["optimizer"], str(path))
        if self.average is not None:
            if "average" not in found.states:
                raise InputError(f"folder: {path} is of a run without ema; leave ema out or use another folder")
            for name, value in found.states["average"].items():
                self.average.average[name].copy_(value)
        state = State(**found.facts["state"])
        if (self.folder / BEST).exists() and state.best_step:
            self._best = load_checkpoint(self.folder / BEST).model
        return state

    def save(self, state: State) -> None:
        """Write the checkpoint that `restore` reads."""
        if self.folder is None:
            return
        if self.sharded:
            weights, optimizer = whole_states(self.trained, self.optimizer)
        elif self.processes.leads:
            weights, optimizer = self.model.state_dict(), self.optimizer.state_dict()
        if not self.processes.leads:
            return
        states: dict[str, Any] = {"optimizer": optimizer}
        if self.average is not None:
            states["average"] = self.average.average
        save_checkpoint(self.folder / LAST, Checkpoint(weights, states, {**self.facts, "state": asdict(state)}))

    def finish(self, state: State, *, keep_best: bool) -> None:
        """Leave the best weights, or the averaged last ones, in the model."""
        if self.sharded:
            return  # the shards stay as they are; best.safetensors holds the whole
        if keep_best and self._best is not None:
            load_weights(self.model, self._best)
        elif self.average is not None:
            self.model.load_state_dict(self.average.average)


def _moved(batch: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A batch on the device, its floating-point tensors in the dtype."""
    if isinstance(batch, Tensor):
        return batch.to(device, dtype) if batch.is_floating_point() else batch.to(device)
    if isinstance(batch, tuple | list):
        return type(batch)(_moved(x, device, dtype) for x in batch)
    if isinstance(batch, dict):
        return {name: _moved(x, device, dtype) for name, x in batch.items()}
    return batch.to(device).to(dtype) if hasattr(batch, "to") else batch


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], source: str) -> None:
    """The saved state to the bit: `load_state_dict` alone would cast it to the dtype of the weights."""
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise InputError(f"{source}: is of another optimiser ({error}); use the same one or another folder") from error
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    for parameter, number in zip(parameters, numbers, strict=True):
        for name, value in state["state"].get(number, {}).items():
            own = optimizer.state[parameter][name]
            if isinstance(value, Tensor) and isinstance(own, Tensor) and own.dtype != value.dtype:
                optimizer.state[parameter][name] = value.to(own.device)
