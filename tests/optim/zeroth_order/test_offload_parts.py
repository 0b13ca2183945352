"""Timelines and forecasts against sums by hand, short forms against their formats, full disks and lanes."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.optim.zeroth_order.offload import BlockCost, Span, Timeline, simulate
from polyad.optim.zeroth_order.offload.lanes import Lanes
from polyad.optim.zeroth_order.offload.layout import layout_of
from polyad.optim.zeroth_order.offload.memory import DeviceMeter, host_memory, mapped
from polyad.optim.zeroth_order.offload.pipeline import Pipeline
from polyad.optim.zeroth_order.offload.random_states import RandomStates
from polyad.optim.zeroth_order.offload.saving import load_state, save_state
from polyad.optim.zeroth_order.offload.wire import arrival, compress, expand


def test_timeline_by_hand() -> None:
    timeline = Timeline()
    spans = [("upload", 0.0, 2.0, 10), ("compute", 1.0, 4.0, 0), ("offload", 3.0, 6.0, 30), ("upload", 3.5, 5.0, 20)]
    for lane, start, end, size in spans:
        timeline.add(Span(lane, 0, start, end, size))
    assert timeline.bytes_moved() == 60
    assert timeline.bytes_moved("upload") == 30
    assert timeline.seconds("upload", "offload") == pytest.approx(5.0)
    assert timeline.seconds("compute") == pytest.approx(3.0)
    assert timeline.seconds() == pytest.approx(6.0)
    assert timeline.overlap == pytest.approx(2.0 / 5.0)
    assert Timeline().overlap == 0


def test_forecast_of_equal_blocks_in_closed_form() -> None:
    link_bound = [BlockCost(8.0, 1.0)] * 10  # 2 s a move, 0.5 s of computing
    forecast = simulate(link_bound, bandwidth=4.0, flops=2.0, slots=3)
    assert forecast.compute == pytest.approx(5.0)
    assert forecast.sequential == pytest.approx(45.0)
    # three slots: a round of three takes the larger of three uploads and one block's whole stay, 6 s
    assert forecast.overlapped == pytest.approx(10 * 2 + 0.5 + 2)
    assert simulate(link_bound, bandwidth=4.0, flops=2.0, slots=1).overlapped == pytest.approx(45.0)
    compute_bound = [BlockCost(1.0, 12.0)] * 10
    for slots in (2, 3):
        forecast = simulate(compute_bound, bandwidth=4.0, flops=2.0, slots=slots)
        assert forecast.overlapped == pytest.approx(0.25 + 60 + 0.25)


def test_forecast_is_the_earliest_schedule() -> None:
    """Against events one tick at a time: every lane takes its next block as soon as its rules allow."""
    generator = torch.Generator().manual_seed(0)
    for slots in (1, 2, 3):
        for _ in range(5):
            moves = torch.randint(1, 6, (7,), generator=generator).tolist()
            work = torch.randint(1, 9, (7,), generator=generator).tolist()
            done = {lane: [-1] * 7 for lane in ("up", "run", "down")}
            busy: dict[str, tuple[int, int] | None] = dict.fromkeys(done)
            cost = {"up": moves, "run": work, "down": moves}
            for tick in itertools.count():
                for lane in done:
                    if (now := busy[lane]) and now[1] == tick:
                        done[lane][now[0]], busy[lane] = tick, None
                for lane, needs in (("up", ("down", -slots)), ("run", ("up", 0)), ("down", ("run", 0))):
                    following = sum(end >= 0 for end in done[lane])
                    other = following + needs[1]
                    if busy[lane] is None and following < 7 and (other < 0 or done[needs[0]][other] >= 0):
                        busy[lane] = (following, tick + cost[lane][following])
                if min(done["down"]) >= 0:
                    break
            blocks = [BlockCost(move, run) for move, run in zip(moves, work, strict=True)]
            assert simulate(blocks, bandwidth=1.0, flops=1.0, slots=slots).overlapped == pytest.approx(tick)


def test_forecast_passes_over_pinned_blocks_and_refuses_nonsense() -> None:
    blocks = [BlockCost(0.0, 2.0), BlockCost(4.0, 2.0), BlockCost(0.0, 2.0)]
    assert simulate(blocks, bandwidth=1.0, flops=1.0).overlapped == pytest.approx(4 + 2 + 4)
    for options in ({"bandwidth": 0.0, "flops": 1.0}, {"bandwidth": 1.0, "flops": -1.0}):
        with pytest.raises(InputError, match="positive"):
            simulate(blocks, **options)
    with pytest.raises(InputError, match="negative"):
        simulate([BlockCost(-1.0, 1.0)], bandwidth=1.0, flops=1.0)


@pytest.mark.parametrize("wire", [torch.bfloat16, torch.float8_e4m3fn])
def test_short_forms_round_to_nearest_and_only_once(wire: torch.dtype) -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(700, 300), nn.BatchNorm1d(300), nn.Linear(1, 3))
    with torch.no_grad():
        block[0].weight.mul_(1e-3)
        block[0].bias.mul_(1e6)
        block[2].weight.zero_()
    layout = layout_of(block, wire=wire)
    slot = torch.zeros(layout.device_bytes + 64, dtype=torch.uint8)
    for name, view in layout.in_slot(slot).items():
        view.copy_(block.state_dict()[name])
    original = {name: value.clone() for name, value in block.state_dict().items()}
    scales = compress(layout, slot)
    sent = slot[: layout.host_bytes].clone()
    arrival(layout, slot).copy_(sent)
    expand(layout, slot, scales)
    once = {name: view.clone() for name, view in layout.in_slot(slot).items()}
    bits = {torch.bfloat16: 8, torch.float8_e4m3fn: 4}[wire]
    for name, scale in zip(once, scales, strict=True):
        value = original[name]
        if "running" in name or "num_batches" in name:
            assert torch.equal(once[name], value)
            continue
        smallest = 0.0 if wire == torch.bfloat16 else scale * 2.0**-10
        bound = (value.abs() * 2.0**-bits).clamp_min(smallest)
        assert bool(((once[name] - value).abs() <= bound).all()), name
    assert compress(layout, slot) == scales
    again, first = layout.in_host(slot), layout.in_host(sent)
    assert all(torch.equal(again[name].float(), first[name].float()) for name in again)


def test_infinite_values_are_not_hidden_by_short_forms() -> None:
    block = nn.Linear(2, 2)
    layout = layout_of(block, wire=torch.float8_e4m3fn)
    slot = torch.zeros(layout.device_bytes, dtype=torch.uint8)
    layout.in_slot(slot)["weight"].copy_(torch.tensor([[1.0, torch.inf], [2.0, 3.0]]))
    scales = compress(layout, slot)
    arrival(layout, slot).copy_(slot[: layout.host_bytes].clone())
    expand(layout, slot, scales)
    assert layout.in_slot(slot)["weight"].isnan().all()


def test_host_memory_is_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = host_memory(4096, folder=tmp_path)
    memory.fill_(7)
    assert memory.shape == (4096,)
    assert int(memory.sum()) == 7 * 4096
    assert not list(tmp_path.iterdir())
    if hasattr(os, "posix_fallocate"):

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(InputError, match="No space"):
            host_memory(4096, folder=tmp_path)


def test_meter_counts_each_storage_once() -> None:
    meter = DeviceMeter(100, budget=600)
    x = torch.zeros(50)
    meter.see(x, (x[:10], {"y": torch.zeros(25)}))
    assert (meter.activations, meter.peak) == (300, 400)
    meter.see(x)
    assert meter.peak == 400
    with pytest.raises(InputError, match="smaller batch"):
        meter.see(torch.zeros(126))


def test_nested_values_keep_their_kinds() -> None:
    named = torch.return_types.max((torch.ones(1), torch.zeros(1)))
    pair = {"a": [torch.ones(1), 3], "b": (torch.zeros(2), None)}
    found = mapped(pair, lambda x: x + 1)
    assert found["a"][0].item() == 2
    assert found["a"][1] == 3
    assert found["b"][0].tolist() == [1, 1]
    assert found["b"][1] is None
    assert mapped(tuple(named), lambda x: x * 2)[0].item() == 2


def test_states_of_blocks_are_pieces_of_one_stream() -> None:
    sizes = [(3,), (), (40,), (5, 5)]
    states = RandomStates(4, torch.device("cpu"))
    last = None
    for seed in (1, 2):
        stream = torch.Generator().manual_seed(seed)
        expected = [torch.randn(torch.Size(size).numel(), generator=stream).reshape(size) for size in sizes]
        states.begin(seed)
        for number, (size, noise) in enumerate(zip(sizes, expected, strict=True)):
            if last is not None:
                value = torch.zeros(size)
                states.update(number, [value], 1.0, last=True)
                assert torch.equal(value, last[number])
            states.enter(number)
            for _ in range(3):
                value = torch.zeros(size)
                states.shift(number, [value], 1.0)
                assert torch.equal(value, noise)
        last = expected
    value = torch.zeros(40)
    states.update(2, [value], 1.0, last=False)
    assert torch.equal(value, last[2])
    with pytest.raises(InputError, match="number of blocks"):
        states.restore(torch.zeros(3, 5, dtype=torch.uint8))


def test_upload_waits_for_the_offload_that_frees_its_slot() -> None:
    timeline = Timeline()
    lanes = Lanes(torch.device("cpu"), timeline, bandwidth=200.0)
    host, slot = torch.arange(10, dtype=torch.uint8), torch.full((10,), 9, dtype=torch.uint8)
    kept = torch.zeros(10, dtype=torch.uint8)
    left = lanes.offload(0, slot, kept)
    lanes.upload(1, host, slot, after=left).result()
    lanes.close()
    assert kept.tolist() == [9] * 10
    assert slot.tolist() == list(range(10))
    first, second = timeline.spans
    assert (first.lane, second.lane) == ("offload", "upload")
    assert first.end <= second.start
    assert second.end - second.start >= 0.045


def test_pipeline_rests_when_an_action_raises() -> None:
    blocks = [nn.Linear(4, 4) for _ in range(5)]
    layouts = [layout_of(block) for block in blocks]
    lanes = Lanes(torch.device("cpu"), Timeline(), bandwidth=5000.0)
    pipeline = Pipeline(
        layouts,
        {k: torch.zeros(layout.host_bytes, dtype=torch.uint8) for k, layout in enumerate(layouts)},
        {},
        slots=2,
        device=torch.device("cpu"),
        lanes=lanes,
    )
    threads = threading.active_count()

    def action(block: int, tensors: dict[str, torch.Tensor]) -> None:
        tensors["weight"].fill_(block + 1)
        if block == 2:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        pipeline.visit(action)
    moved = len(lanes.timeline.spans)
    time.sleep(0.05)
    assert len(lanes.timeline.spans) == moved
    assert threading.active_count() <= threads + 2
    assert [float(pipeline.get(k)["weight"].mean()) for k in range(5)] == [1, 2, 0, 0, 0]
    lanes.close()


def test_saved_tensors_are_read_by_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    tensors = {
        "a": torch.randn(3, 4).bfloat16(),
        "b": torch.randn(5).to(torch.float8_e4m3fn),
        "c": torch.tensor(True),
        "d": torch.randn(0, 2, dtype=torch.float64),
        "e": torch.arange(6).reshape(2, 3).T,
    }
    path = tmp_path / "x.safetensors"
    save_state(path, tensors, {"one": 0.1})
    for name, tensor in load_file(path).items():
        assert tensor.dtype == tensors[name].dtype
        assert torch.equal(tensor.float(), tensors[name].float())
    found, facts = load_state(path, {"a": tensors["a"]})
    assert set(found) == set(tensors)
    assert facts == {"one": 0.1}
    with pytest.raises(InputError, match="cannot be saved"):
        save_state(path, {"a": torch.zeros(2, dtype=torch.complex64)}, {})
    with pytest.raises(InputError, match="folder"):
        save_state(tmp_path / "none" / "x.safetensors", tensors, {})
