"""A channel for tasks that are called in this process."""

from __future__ import annotations

import json
from typing import Any


class Listener:
    """A channel that keeps what is emitted, and asks to stop after some events."""

    def __init__(self, most: int | None = None) -> None:
        self.events: list[Any] = []
        self.most = most

    def emit(self, event: Any) -> None:
        json.dumps(event, allow_nan=False)
        self.events.append(event)

    def stopped(self) -> bool:
        return self.most is not None and len(self.events) >= self.most
