"""A claim for trial: the time a stone falls, by Galilei's law against steps of Euler's method."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

CARD = {
    "id": "S900",
    "slug": "falling_stone",
    "title": "Two New Sciences [third day]",
    "paper": "Galilei, Leiden 1638",
    "bibtex": "@book{galilei1638, author = {Galilei, Galileo}, title = {Two New Sciences}, year = {1638}}",
    "package": "physics",
    "module": "stones",
    "api": ["fall_time", "fall"],
    "tags": ["mechanics", "closed form"],
    "claim": "The closed form needs no steps and is exact.",
    "minutes": 0.1,
    "extras": [],
    "published": {"height": 5.0},
    "contracts": {"fall": "solver"},
}


def run(report):
    height, gravity, step = 5.0, 9.81, 1e-2
    exact = math.sqrt(2 * height / gravity)
    time = speed = fallen = 0.0
    while fallen < height:
        fallen, speed, time = fallen + step * speed, speed + step * gravity, time + step
        report.progress(min(int(fallen), 5), 5)
    report.row(quantity="fall time [s]", paper=1.0096, baseline=time, ours=exact, holds=abs(exact - 1.0096) < 1e-4)
    report.row(quantity="steps", paper="none", baseline=round(time / step), ours=0, holds=True)
    report.row(quantity="height [m] | as asked", ours=height)
    report.note("a stone of no size")
    report.open("air")
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([0, exact], [height, 0])
    report.figure(figure)
    report.figure(figure, "again")
