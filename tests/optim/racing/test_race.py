"""Races: rows, targets, what is kept, and that a killed one goes on without losing a training."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from polyad.errors import FileFormatError, InputError
from polyad.optim.racing import course as course_module
from polyad.optim.racing import race as race_module
from polyad.optim.racing.course import Course, Point
from polyad.optim.racing.problem import Problem
from polyad.optim.racing.race import SHARE, TUNING_SEED, Race, race
from polyad.optim.racing.results import plot_race, race_facts
from polyad.optim.racing.store import Store
from polyad.optim.racing.tuning import Tuning
from polyad.optim.registry import OPTIMIZERS
from tests.optim.racing.test_course import noisy

RATES = {"adam": 0.05, "sgd": 0.05}


@pytest.fixture(autouse=True)
def _steps_take_one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setitem(course_module.CLOCKS, "process", lambda: float(next(ticks)))


def run(optimizers: list[str], **options: Any) -> Race:
    return race(noisy, optimizers, **{"seconds": 8.0, "seeds": 2, "points": 4, "trials": 4, **options})


def courses_of(best: list[float], *, name: str = "x", ended: str = "time") -> list[Course]:
    return [
        Course(name, 0.1, k, (Point(0, 0.0, 9.0), Point(10, 5.0, 4.0), Point(20, 10.0, value)), 20, 100 + k, ended)
        for k, value in enumerate(best)
    ]


def test_rows_are_medians_and_ranges() -> None:
    found = Race(
        {
            "lost": courses_of([1.0, 1.0, 1.0], name="lost", ended="diverged"),
            "base": courses_of([4.5, 1.0, 3.0], name="base"),
            "better": courses_of([2.0, 3.5, 0.5], name="better"),
        },
        {"better": Tuning(0.1, ((0.1, 2.0),), at_edge=True)},
    )
    assert found.target() == 3.0
    lost, base, better = found.rows()
    assert math.isinf(lost.best)
    assert math.isinf(lost.seconds)
    assert lost.note.startswith("diverged on 3 of 3")
    assert (base.best, base.lowest, base.highest) == (3.0, 1.0, 4.0)
    assert (base.seconds, base.steps, base.seconds_a_step, base.state_bytes) == (10.0, 20, 0.5, 102)
    assert (better.best, better.seconds) == (2.0, 10.0)
    assert better.note == "rate at the edge of its range"
    assert [row.steps for row in found.rows(4.0)] == [math.inf, 10, 10]
    facts = race_facts(found, target=4.0)
    assert facts["rows"][0]["best"] is None
    assert facts["target"] == 4.0
    json.dumps(facts, allow_nan=False)


def test_all_optimisers_meet_the_same_seeds_and_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    calls: list[tuple[str, int, float]] = []
    real = course_module.run_course

    def watched(entry: Any, problem: Any, **options: Any) -> Course:
        calls.append((entry.name, options["seed"], options["seconds"]))
        return real(entry, problem, **options)

    monkeypatch.setattr(race_module, "run_course", watched)
    told: list[tuple[int, int]] = []
    found = run(["sgd", "adam"], rates={"sgd": 0.02}, progress=lambda done, total: told.append((done, total)))
    trial = ("adam", TUNING_SEED, SHARE * 8)
    assert calls == [trial] * 4 + [(name, seed, 8.0) for seed in (0, 1) for name in ("sgd", "adam")]
    assert list(found.courses) == ["sgd", "adam"]
    assert list(found.tunings) == ["adam"]
    assert {course.rate for course in found.courses["adam"]} == {found.tunings["adam"].rate}
    assert {course.rate for course in found.courses["sgd"]} == {0.02}
    assert told[-1] == (4 * 4 + 4 * 8, 4 * 4 + 4 * 8)
    assert told == sorted(told)


def test_makers_that_forget_the_seed_start_alike() -> None:
    def forgetful(seed: int) -> Problem:
        return Problem(nn.Linear(4, 2), noisy().loss)

    found = race(forgetful, ["adam", "sgd"], rates=RATES, seconds=2.0, seeds=2)
    starts = [[course.points[0].loss for course in courses] for courses in found.courses.values()]
    assert starts[0] == starts[1]
    assert starts[0][0] != starts[0][1]


def test_a_diverging_and_a_refusing_optimiser_are_rows() -> None:
    found = run(["adam", "sgd"], rates={"adam": 0.05, "sgd": 1e30}, seconds=40.0)
    assert [math.isfinite(row.best) for row in found.rows()] == [True, False]
    assert found.rows()[1].note.startswith("diverged on 2 of 2 seeds: loss")
    plot_race(found)


class _Killed(BaseException):
    """As sudden as a signal."""


def test_a_killed_race_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    real = course_module.run_course
    made: list[int] = []
    last = [6]

    def mortal(entry: Any, problem: Any, **options: Any) -> Course:
        if len(made) == last[0]:
            raise _Killed
        made.append(options["seed"])
        return real(entry, problem, **options)

    monkeypatch.setattr(race_module, "run_course", mortal)
    with pytest.raises(_Killed):
        run(["sgd", "adam"], folder=tmp_path)
    kept = sorted(path.name for path in (tmp_path / "courses").iterdir())
    assert len(kept) == 6
    last[0] = 100
    resumed = run(["sgd", "adam"], folder=tmp_path)
    assert len(made) == 8 + 4  # not one twice
    whole = run(["sgd", "adam"])
    assert race_facts(resumed) == race_facts(whole)
    before = len(made)
    run(["sgd", "adam", "shampoo"], folder=tmp_path, rates={"shampoo": 0.1})
    assert len(made) == before + 2  # another optimiser joins


def test_what_does_not_belong_to_a_race_is_refused(tmp_path: Path) -> None:
    run(["adam"], rates={"adam": 0.05}, folder=tmp_path)
    with pytest.raises(InputError, match=r"seconds = 8.0, not 9.0"):
        run(["adam"], rates={"adam": 0.05}, folder=tmp_path, seconds=9.0)
    store, entry = Store(tmp_path, json.loads((tmp_path / "settings.json").read_text())), OPTIMIZERS["adam"]
    kept = store.load(entry, "race", 0.05, 0)
    assert kept is not None
    assert store.load(entry, "race", 0.06, 0) is None
    assert store.load(entry, "race", 0.05, 7) is None
    for text, words in (("{", "no JSON"), ("[]", "no JSON object"), ('{"options": {}, "course": {}}', "no course")):
        (tmp_path / "courses" / "adam-race-seed0.json").write_text(text)
        with pytest.raises(FileFormatError, match=words):
            run(["adam"], rates={"adam": 0.05}, folder=tmp_path)


@pytest.mark.parametrize(
    ("optimizers", "options", "words"),
    [
        (["adamm"], {}, "unknown"),
        ([], {}, "optimizers"),
        (["adam", "adam"], {}, "each once"),
        (["adam"], {"seconds": 0.0}, "seconds"),
        (["adam"], {"seeds": 0}, "seeds"),
        (["adam"], {"rates": {"sgd": 0.1}}, "does not race"),
        (["adam"], {"rates": {"adam": -0.1}}, "must be positive"),
        (["adam"], {"clock": "sun"}, "clock"),
    ],
)
def test_bad_races_are_refused(optimizers: list[str], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run(optimizers, **options)


def test_the_figure_shows_every_optimiser_in_three_ways() -> None:
    figure = plot_race(run(["adam", "sgd"], rates=RATES))
    by_time, by_steps, by_memory = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "processor time [s]", "steps", "state of the optimiser [MiB]",
    ]  # fmt: skip
    assert [text.get_text() for text in by_time.get_legend().get_texts()] == ["adam", "sgd"]
    assert len(by_steps.lines[0].get_xdata()) == 5
    assert len(by_memory.containers) == 2
    near, far = (
        plot_race(Race({"x": [Course("x", 0.1, 0, (Point(0, 0.0, 1.0), Point(9, 1.0, end)), 9, 8, "time")]}))
        for end in (0.5, 1e-6)
    )
    assert [figure.axes[0].get_yscale() for figure in (near, far)] == ["linear", "log"]
