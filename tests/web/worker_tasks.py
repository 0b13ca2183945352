"""Tasks for the tests of worker pools, importable by name in the worker processes."""

from __future__ import annotations

import os
import time
from typing import Any

from polyad.errors import InputError
from polyad.web.workers import Channel


def double(payload: int, channel: Channel) -> int:
    return 2 * payload


def process(payload: None, channel: Channel) -> int:
    return os.getpid()


def die(payload: None, channel: Channel) -> None:
    os._exit(7)


def sleep(payload: float, channel: Channel) -> float:
    time.sleep(payload)
    return payload


def refuse(payload: str, channel: Channel) -> None:
    raise InputError(payload)


def fail(payload: None, channel: Channel) -> None:
    raise ZeroDivisionError


def allocate(payload: int, channel: Channel) -> int:
    return len(bytearray(payload))


def count_until_stopped(payload: int, channel: Channel) -> int:
    for number in range(payload):
        channel.emit(number)
        if channel.stopped():
            return number
        time.sleep(0.02)
    return payload


def ignore_stop(payload: None, channel: Channel) -> Any:
    channel.emit("begun")
    time.sleep(60)
