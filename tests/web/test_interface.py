"""Requests made up from the interface's own description: none breaks the server, and every refusal is one line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("schemathesis", reason="schemathesis is not installed")
pytest.importorskip("fastapi", reason="FastAPI is not installed")
pytest.importorskip("duckdb", reason="DuckDB is not installed")

import schemathesis
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from polyad.web import Settings, create_app

pytestmark = pytest.mark.slow

HEADERS = {"host": "localhost:8000"}
patient = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(scope="module")
def application() -> Iterator[Any]:
    app = create_app(Settings(solvers=1, design_seconds=2.0))
    with TestClient(app, base_url="http://localhost:8000") as client:
        while client.get("/api/status").json()["loading"]:
            time.sleep(0.1)
        yield app


def _check_into(answers: set[int], label: str) -> Any:
    def check(case: Any) -> None:
        response = case.call(headers=HEADERS)
        answers.add(response.status_code)
        assert response.status_code < 500 or (response.status_code == 503 and "wait" in response.text), label
        if response.status_code >= 400:
            assert set(response.json()) == {"error"}, label

    return check


def test_no_request_breaks_the_server(application: Any) -> None:
    described = schemathesis.openapi.from_asgi("/api/openapi.json", application, headers=HEADERS)
    seen: dict[str, set[int]] = {}
    for found in described.get_all_operations():
        operation = found.ok()
        label = f"{operation.method.upper()} {operation.path}"
        answers = seen.setdefault(label, set())

        patient(given(case=operation.as_strategy())(_check_into(answers, label)))()
    assert len(seen) >= 15
    assert {200, 422} <= set().union(*seen.values())
