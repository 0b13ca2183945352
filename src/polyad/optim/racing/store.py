"""Courses of a race in a folder, each in a file of its own that is there whole or not at all: a killed race goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_write, read_bytes
from polyad.optim.racing.course import Course, Point
from polyad.optim.registry import Entry


@final
class Store:
    """Files of one race; without a folder nothing is kept.

    Args:
        folder: is made where it is missing.
        settings: what must be the same for courses to be comparable; kept as settings.json.

    Raises:
        InputError: the folder holds a race with other settings.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        if folder is None:
            return
        try:
            (folder / "courses").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made a folder ({error.strerror}); choose another place") from error
        place = folder / "settings.json"
        if place.exists():
            before = _read(place)
            changed = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
            if changed:
                key = changed[0]
                raise InputError(
                    f"{folder}: holds a race with {key} = {before.get(key)!r}, not {settings.get(key)!r}; "
                    "give the same settings to go on, or another folder"
                )
        else:
            _write(place, settings)

    def load(self, entry: Entry, kind: str, rate: float, seed: int) -> Course | None:
        """A course that was kept; None where there is none of this optimiser, options, rate and seed.

        Args:
            entry: the optimiser.
            kind: `race`, or the name of a trial.
            rate: of the course.
            seed: of the course.

        Raises:
            FileFormatError: the file is no course.
        """
        if self._folder is None or not (place := self._place(entry, kind, seed)).exists():
            return None
        held = _read(place)
        if held.get("options") != _plain(entry.options):
            return None
        try:
            facts = held["course"]
            points = tuple(Point(int(steps), float(at), float(loss)) for steps, at, loss in facts["points"])
            course = Course(**{**facts, "points": points})
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(place, "is no course of a race; delete it to run that training again") from error
        return course if (course.rate, course.seed) == (rate, seed) else None

    def save(self, entry: Entry, kind: str, course: Course) -> None:
        """Keep a course."""
        if self._folder is not None:
            _write(self._place(entry, kind, course.seed), {"options": _plain(entry.options), "course": asdict(course)})

    def _place(self, entry: Entry, kind: str, seed: int) -> Path:
        assert self._folder is not None
        return self._folder / "courses" / f"{entry.name}-{kind}-seed{seed}.json"


def _plain(options: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(dict(options), default=lambda value: getattr(value, "__qualname__", str(value))))


def _read(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_bytes(place))
    except ValueError as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(place, "is no JSON; delete it to run that training again") from error
    if not isinstance(found, dict):
        raise FileFormatError(place, "is no JSON object; delete it to run that training again")
    return found


def _write(place: Path, facts: Mapping[str, Any]) -> None:
    with atomic_write(place) as handle:
        handle.write(json.dumps(facts, indent=1, allow_nan=False).encode())
