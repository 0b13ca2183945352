"""Work that fans out: every result once, few in flight, dead workers told in one line, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polyad.errors import InputError
from polyad.executors import dask_executor, local_executor, map_unordered


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    raise InputError(f"number {number} is bad")


def environment(_: int) -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def die(_: int) -> None:
    os._exit(9)


def wait_long(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def is_running(process: int) -> bool:
    """A zombie that nobody has collected does not run."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_without_executor_everything_happens_here_in_order() -> None:
    assert list(map_unordered(square, range(5))) == [0, 1, 4, 9, 16]


def test_every_item_once_and_no_more_in_flight_than_asked_for() -> None:
    taken, given, most = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield number

    found = []
    with ThreadPoolExecutor(3) as executor:
        for result in map_unordered(square, items(), executor=executor, in_flight=5):
            given += 1
            most = max(most, taken - given)
            found.append(result)
    assert sorted(found) == [n * n for n in range(40)]
    assert 3 <= most <= 5


def test_an_error_of_the_work_arrives_and_the_rest_is_dropped() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(InputError, match="is bad"):
        list(map_unordered(fail, range(1000), executor=executor))


def test_local_workers_have_one_thread_each_and_are_other_processes() -> None:
    with local_executor(2) as executor:
        found = list(map_unordered(environment, range(6), executor=executor))
    assert os.getpid() not in {process for process, _ in found}
    assert {threads for _, threads in found} == {"1"}


def test_a_dying_worker_ends_in_one_line() -> None:
    with local_executor(1) as executor, pytest.raises(InputError, match="a worker process died"):
        list(map_unordered(die, range(3), executor=executor))


def test_no_workers_are_refused() -> None:
    with pytest.raises(InputError, match="workers is 0"), local_executor(0):
        pass


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL leaves the parent no chance to tell its workers; they notice by themselves."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\n"
        "from polyad.executors import local_executor, map_unordered\n"
        "from tests.test_executors import wait_long\n"
        "if __name__ == '__main__':\n"
        "    with local_executor(2) as executor:\n"
        "        list(map_unordered(wait_long, [sys.argv[1]] * 4, executor=executor))\n"
    )
    folder = tmp_path / "workers"
    folder.mkdir()
    root = str(Path(__file__).resolve().parents[1])
    parent = subprocess.Popen([sys.executable, str(script), str(folder)], env=os.environ | {"PYTHONPATH": root})
    patience = time.monotonic() + 60
    while len(workers := [int(p.name) for p in folder.iterdir()]) < 2:
        assert time.monotonic() < patience, "workers did not start"
        time.sleep(0.02)
    assert all(map(is_running, workers))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(map(is_running, workers)):
        assert time.monotonic() < patience, "a worker outlived its parent"
        time.sleep(0.02)


def test_nobody_at_the_address_is_one_line() -> None:
    pytest.importorskip("distributed")
    with (
        pytest.raises(InputError, match=r"no scheduler answers at 'tcp://127.0.0.1:9'"),
        dask_executor("tcp://127.0.0.1:9", timeout=0.5),
    ):
        pass
