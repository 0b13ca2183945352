"""Training ends where it must: against a loop written out, killed and resumed, and with every option it claims."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError, TrainingError
from polyad.training import TensorData, fit, load_checkpoint
from polyad.training.batches import training_batch
from polyad.training.metrics import read_metrics
from polyad.training.schedules import constant, cosine
from tests.training.training_case import network, regression, squared_error, train

CASE = Path(__file__).with_name("training_case.py")


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def assert_same_bits(a: nn.Module, b: nn.Module) -> None:
    assert all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_equals_a_loop_written_out() -> None:
    model, _ = train(None, steps=17, seed=3, schedule=cosine(warmup=0.2), clip_norm=0.5)
    other, data = network(), regression()
    optimizer = torch.optim.AdamW(other.parameters(), lr=0.01)
    for step in range(17):
        progress = step / 17
        rate = max(progress / 0.2, 1e-3) if progress < 0.2 else 0.5 * (1 + math.cos(math.pi * (progress - 0.2) / 0.8))
        optimizer.param_groups[0]["lr"] = 0.01 * rate
        torch.manual_seed(((3 * 1_000_003 + step) * 65_537) % 2**63)
        optimizer.zero_grad()
        squared_error(other, data[training_batch(50, 8, step, seed=3)]).backward()
        nn.utils.clip_grad_norm_(other.parameters(), 0.5)
        optimizer.step()
    assert_same_bits(model, other)


def test_learns() -> None:
    data = regression(400)
    model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 2))
    result = fit(model, squared_error, data, validation=regression(100, seed=1), epochs=40, learning_rate=0.01)
    assert result.stopped == "steps"
    assert result.best < 0.35 * result.history[0]["validation_loss"]
    assert result.best == min(row["validation_loss"] for row in result.history)


@pytest.mark.parametrize("ema", [None, 0.95])
def test_run_in_two_parts_ends_with_the_same_bits(tmp_path: Path, ema: float | None) -> None:
    options = {"validation": regression(20, seed=9), "ema": ema, "validate_every": 7}
    whole, one = train(tmp_path / "whole", **options)

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 25:
            raise Stop

    with pytest.raises(Stop):
        train(tmp_path / "parts", progress=stop, checkpoint_seconds=0.0, **options)
    parts, two = train(tmp_path / "parts", **options)
    assert_same_bits(whole, parts)
    assert (one.best, one.best_step) == (two.best, two.best_step)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in one.history]
    assert rows == [{k: v for k, v in row.items() if k != "seconds"} for row in two.history]
    for name in ("last", "best"):
        a, b = (load_checkpoint(tmp_path / part / f"{name}.safetensors") for part in ("whole", "parts"))
        assert all(torch.equal(a.model[key], b.model[key]) for key in a.model)


def start(folder: Path, options: dict, *, processes: int = 0) -> subprocess.Popen:
    root = CASE.parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    command = [sys.executable]
    if processes:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [*command, str(CASE), str(folder), json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


def kill_and_resume(tmp_path: Path, kills: int) -> None:
    """Kill runs with SIGKILL after random numbers of steps until one ends; compare with one never killed."""
    options = {"steps": 400, "ema": 0.9, "validate_every": 11, "checkpoint_seconds": 0.0, "validate": True}
    dice = random.Random(0)
    for _ in range(kills):
        process = start(tmp_path / "killed", options)
        assert process.stdout is not None
        for _ in range(dice.randrange(0, 400 // kills)):
            process.stdout.readline()
        process.kill()
        process.communicate()
    process = start(tmp_path / "killed", options)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    left = {key: value for key, value in options.items() if key != "validate"}
    train(tmp_path / "whole", validation=regression(20, seed=9), **{**left, "checkpoint_seconds": 60.0})
    for name in ("last", "best"):
        a, b = (load_checkpoint(tmp_path / part / f"{name}.safetensors") for part in ("whole", "killed"))
        assert all(torch.equal(a.model[key], b.model[key]) for key in a.model)
    rows = [read_metrics(tmp_path / part / "metrics.csv") for part in ("whole", "killed")]
    assert [row["validation_loss"] for row in rows[0]] == [row["validation_loss"] for row in rows[1]]
    assert not list((tmp_path / "killed").glob("*.tmp"))


def test_killed_twice_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 2)


@pytest.mark.slow
def test_killed_twenty_times_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 20)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    # 50 samples in batches of 8: the last batch of an epoch has two samples, one each
    options = {"steps": 30, "no_dropout": True, "validate": True, "precision": "float64", "ema": 0.9}
    for name, processes in (("one", 0), ("two", 2)):
        process = start(tmp_path / name, options, processes=processes)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    one, two = (load_checkpoint(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for key in one.model:
        assert torch.allclose(one.model[key], two.model[key], rtol=0, atol=1e-12)
        assert torch.allclose(one.states["average"][key], two.states["average"][key], rtol=0, atol=1e-12)
    scores = [read_metrics(tmp_path / name / "metrics.csv")[-1]["validation_loss"] for name in ("one", "two")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-12)


@pytest.mark.slow
def test_sharded_processes_train_as_one_and_resume(tmp_path: Path) -> None:
    options = {"steps": 30, "no_dropout": True, "validate": True, "precision": "float64", "checkpoint_seconds": 0.0}
    sharded = {**options, "strategy": "fsdp"}
    killed = start(tmp_path / "two", sharded, processes=2)
    assert killed.stdout is not None
    for _ in range(12):
        killed.stdout.readline()
    killed.terminate()  # torchrun passes it on to its processes
    killed.communicate()
    assert 10 <= load_checkpoint(tmp_path / "two" / "last.safetensors").facts["state"]["step"] < 30
    for name, processes, given in (("one", 0, options), ("two", 2, sharded)):
        process = start(tmp_path / name, given, processes=processes)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
    for name in ("last", "best"):
        one, two = (load_checkpoint(tmp_path / part / f"{name}.safetensors") for part in ("one", "two"))
        assert all(torch.allclose(one.model[key], two.model[key], rtol=0, atol=1e-12) for key in one.model)


def test_average_is_what_is_kept() -> None:
    model, _ = train(None, steps=30, ema=0.9)
    last, _ = train(None, steps=30)
    assert not any(torch.equal(x, y) for x, y in zip(weights(model), weights(last), strict=True))


def test_patience_ends_a_run_and_the_best_weights_stay() -> None:
    seen: list[Tensor] = []
    scores = iter([3.0, 2.0, 5.0, 4.0, 6.0, 1.0])

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        if model.training:
            return squared_error(model, batch)
        seen.append(next(model.parameters()).detach().clone())
        return torch.tensor(next(scores))

    model = network()
    data = regression()
    result = fit(model, loss, data, validation=regression(8), steps=100, batch_size=8, validate_every=1, patience=3)
    assert (result.stopped, result.steps, result.best, result.best_step) == ("patience", 5, 2.0, 2)
    assert torch.equal(next(model.parameters()), seen[1])


def test_minutes_end_a_run() -> None:
    _, result = train(None, steps=None, minutes=0.5 / 60)
    assert result.stopped == "minutes"
    assert 0.5 <= result.seconds < 5


def test_waiting_costs_no_processor_time() -> None:
    def patient(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        time.sleep(0.1)
        return squared_error(model, batch)

    spent = {
        clock: fit(network(), patient, regression(), steps=4, batch_size=8, clock=clock).seconds
        for clock in ("wall", "process")
    }
    assert spent["process"] < 0.4 <= spent["wall"]


def test_metrics_are_means_over_all_samples() -> None:
    held = regression(21, seed=4)  # not a multiple of the batch

    def metrics(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"mae": (model(batch[0]) - batch[1]).abs().mean()}

    model, result = train(None, steps=7, validation=held, metrics=metrics)
    model.eval()
    with torch.no_grad():
        everything = held[torch.arange(21)]
        mae, loss = float(metrics(model, everything)["mae"]), float(squared_error(model, everything))
    assert result.history[-1]["validation_mae"] == pytest.approx(mae)
    assert result.history[-1]["validation_loss"] == pytest.approx(loss)


def test_precisions() -> None:
    double, _ = train(None, precision="float64", steps=3)
    assert {p.dtype for p in double.parameters()} == {torch.float64}
    seen: set[torch.dtype] = set()

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        out = model(batch[0])
        seen.add(out.dtype)
        return (out.float() - batch[1]).square().mean()

    model = network()
    fit(model, loss, regression(), steps=3, precision="bfloat16")
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.slow
def test_compiled_run_is_the_plain_one() -> None:
    plain, _ = train(None, network()[:2].append(network()[3]), steps=20)  # type: ignore[index]
    compiled, _ = train(None, network()[:2].append(network()[3]), steps=20, compile=True)  # type: ignore[index]
    assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(weights(plain), weights(compiled), strict=True))


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(None, steps=3)
    assert torch.equal(torch.rand(3), expected)


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    data = regression()
    data.tensors[1][7] = math.nan
    with pytest.raises(TrainingError, match=r"the loss is nan at step \d+, for samples [\d, ]*\b7\b") as error:
        fit(network(), squared_error, data, epochs=2, batch_size=8, folder=tmp_path, checkpoint_seconds=0.0)
    assert "last.safetensors" in str(error.value)
    assert all(bool(torch.isfinite(x).all()) for x in load_checkpoint(tmp_path / "last.safetensors").model.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": None}, "give a limit"),
        ({"steps": 0}, "steps: must be positive"),
        ({"minutes": math.nan}, "minutes: must be positive"),
        ({"batch_size": 0}, "batch_size: must be at least 1"),
        ({"clock": "moon"}, "clock: 'moon' is none; allowed are wall, process"),
        ({"precision": "float16"}, "precision: 'float16' is none"),
        ({"patience": 3}, "give validation data"),
        ({"device": "tpu9"}, "device"),
        ({"strategy": "zero"}, "strategy: 'zero' is none"),
        ({"ema": 1.0}, "decay must be at least 0 and below 1"),
    ],
)
def test_bad_options_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        train(None, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device here")
def test_absent_device_is_named() -> None:
    with pytest.raises(InputError, match="torch sees no CUDA device"):
        train(None, device="cuda")


def test_loss_must_be_a_scalar_and_data_not_empty() -> None:
    with pytest.raises(InputError, match="must be a scalar"):
        fit(network(), lambda model, batch: model(batch[0]), regression(), steps=1)
    with pytest.raises(InputError, match="holds no sample"):
        fit(network(), squared_error, TensorData(torch.zeros(0, 5), torch.zeros(0, 2)), steps=1)


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    train(tmp_path, steps=3)
    with pytest.raises(InputError, match="use another folder"):
        train(tmp_path, steps=5, batch_size=4)
    with pytest.raises(InputError, match="of another model"):
        train(tmp_path, nn.Linear(5, 2), steps=5)
    with pytest.raises(InputError, match="of another model"):
        train(tmp_path, nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 2)), steps=5)
    with pytest.raises(InputError, match="another optimiser"):
        train(tmp_path, steps=5, optimizer=lambda p: torch.optim.SGD([{"params": [x]} for x in p], lr=0.1))
    with pytest.raises(InputError, match="without ema"):
        train(tmp_path, steps=5, ema=0.9)
    with pytest.raises(InputError, match="cannot be made"):
        train(tmp_path / "metrics.csv" / "x", steps=5)


def test_schedule_reaches_the_optimiser() -> None:
    _, result = train(None, steps=10, schedule=constant(warmup=0.5), validate_every=1)
    rates = [row["learning_rate"] for row in result.history]
    assert rates[:3] == pytest.approx([1e-5, 0.002, 0.004])
    assert rates[5:] == pytest.approx([0.01] * 5)
