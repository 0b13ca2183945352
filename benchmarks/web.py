"""The explorer under load: `python benchmarks/web.py [row ...]`.

Starts `polyad lattice serve` and lets 50 visitors move sliders at once, as the page does: every visitor has a cell of
his own, asks for it at another density, and asks again as soon as the answer has come (`hurried`) or once a second
(`steady`). Visitors and server share the machine.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import httpx
import numpy as np
from harness import Benchmark, run_rows

USERS, SECONDS = 50, 12.0


def under_load(pause: float) -> Sequence[dict[str, Any]]:
    """One row: answers a second, their times, and how many were lost or wrong."""
    command = [sys.executable, "-m", "polyad", "lattice", "serve", "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found is not None
        return [asyncio.run(_visit(found[0], USERS, SECONDS, pause))]
    finally:
        server.terminate()
        server.wait(30)


async def _visit(address: str, users: int, seconds: float, pause: float) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=users)
    async with httpx.AsyncClient(base_url=address, timeout=60.0, limits=limits) as client:
        while (await client.get("/api/status")).json()["loading"]:
            await asyncio.sleep(0.2)
        rows = (await client.get("/api/cells", params={"limit": users, "sort": "nodes"})).json()["rows"]
        bodies = [(await client.get(f"/api/lattices/{row['id']}")).json()["lattice"] for row in rows]
        await asyncio.gather(
            *(client.post("/api/solve", json={"lattice": body}) for body in bodies[:8])
        )  # both workers
        end = time.perf_counter() + seconds
        visits = [_visitor(client, bodies[user % len(bodies)], user, end, pause) for user in range(users)]
        times = np.concatenate([np.array(found) for found in await asyncio.gather(*visits)])
    answered = times[np.isfinite(times)]
    middle, most = np.percentile(answered, [50, 99])
    return {
        "users": users,
        "requests": len(times),
        "lost": int((~np.isfinite(times)).sum()),
        "answers_per_second": round(len(answered) / seconds, 1),
        "median_ms": round(1e3 * middle, 1),
        "p99_ms": round(1e3 * most, 1),
        "greatest_ms": round(1e3 * answered.max(), 1),
        "reached": bool(most < 1.0 and len(answered) == len(times)),
    }


async def _visitor(client: httpx.AsyncClient, body: dict[str, Any], user: int, end: float, pause: float) -> list[float]:
    """Seconds of every answer of one visitor; infinity where it was lost or wrong."""
    generator, times = np.random.default_rng(user), []
    while (start := time.perf_counter()) < end:
        density = float(10 ** generator.uniform(-2.5, -1.2))
        try:
            answer = await client.post("/api/solve", json={"lattice": body, "density": density})
            right = answer.status_code == 200 and abs(answer.json()["density"] / density - 1) < 1e-9
        except httpx.HTTPError:
            right = False
        times.append(time.perf_counter() - start if right else float("inf"))
        await asyncio.sleep(max(pause - times[-1], 0.0))
    return times


ROWS = {
    "hurried": Benchmark(
        "Explorer, 50 visitors, each as fast as answers come", "99 % under 1 s, none lost", partial(under_load, 0.0)
    ),
    "steady": Benchmark(
        "Explorer, 50 visitors, once a second each", "99 % under 1 s, none lost", partial(under_load, 1.0)
    ),
}

if __name__ == "__main__":
    run_rows("web", ROWS)
