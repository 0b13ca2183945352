"""The travelling model equal to MeZO in memory, bit by bit; its bytes; its state after interruptions."""

from __future__ import annotations

import gc
import itertools
import math
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from polyad.errors import FileFormatError, InputError, NumericalWarning
from polyad.optim.zeroth_order.mezo import PIECE, MeZO
from polyad.optim.zeroth_order.offload import ZO2Trainer
from polyad.optim.zeroth_order.offload.layout import layout_of

CONTEXT, VOCABULARY = 6, 13


class Attention(nn.Module):
    """A causal layer with a buffer and one of several widths inside."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.wide = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.mask = nn.Buffer(torch.ones(CONTEXT, CONTEXT).triu(1).bool())

    def forward(self, x: Tensor) -> Tensor:
        normal = self.norm(x)
        x = x + self.attention(normal, normal, normal, attn_mask=self.mask, need_weights=False)[0]
        return x + self.wide(x)


def transformer(width: int = 16, seed: int = 0) -> list[nn.Module]:
    """Blocks of different sizes, some without parameters, one frozen in part."""
    torch.manual_seed(seed)
    blocks = [
        nn.Embedding(VOCABULARY, width),
        Attention(width, 24),
        nn.Identity(),
        Attention(width, 64),
        nn.GELU(),
        Attention(width, 8),
        Attention(width, 40),
        nn.Linear(width, VOCABULARY),
    ]
    blocks[3].norm.weight.requires_grad_(False)
    return blocks


def batches(steps: int, seed: int = 9) -> list[tuple[Tensor, Tensor]]:
    """Tokens and targets; the number of rows changes from step to step."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randint(VOCABULARY, (1 + k % 3, CONTEXT + 1), generator=generator) for k in range(steps)]
    return [(piece[:, :-1], piece[:, 1:]) for piece in tokens]


def entropy(targets: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def in_memory(blocks: list[nn.Module], steps: int, **options: Any) -> list[float]:
    net = nn.Sequential(*blocks)
    optimizer = MeZO([p for p in net.parameters() if p.requires_grad], **options)
    return [float(optimizer.step(lambda t=t, y=y: entropy(y)(net(t)))) for t, y in batches(steps)]


def assert_same(one: list[nn.Module], other: list[nn.Module]) -> None:
    for left, right in zip(
        nn.ModuleList(one).state_dict().items(), nn.ModuleList(other).state_dict().items(), strict=True
    ):
        assert left[0] == right[0]
        assert torch.equal(left[1], right[1]), left[0]


OPTIONS = {"lr": 1e-2, "eps": 1e-3, "seed": 5}


@pytest.mark.parametrize(("slots", "overlap"), [(1, True), (2, True), (3, True), (2, False), (9, True)])
def test_twenty_steps_are_those_of_mezo_to_the_bit(slots: int, overlap: bool) -> None:
    plain, travelling = transformer(), transformer()
    losses = in_memory(plain, 20, **OPTIONS)
    with ZO2Trainer(travelling, device_slots=slots, overlap=overlap, **OPTIONS) as trainer:
        found = [trainer.step(tokens, entropy(targets)) for tokens, targets in batches(20)]
    assert found == losses
    assert_same(travelling, plain)
    assert max(abs(a - b) for a, b in itertools.pairwise(losses)) > 0


def test_large_layers_do_not_notice_that_they_travel() -> None:
    """Sizes at which attention has faster forms, which torch chooses by what its parameters are."""

    def build() -> list[nn.Module]:
        torch.manual_seed(2)
        return [nn.Linear(65, 128), *(Attention(128, 509) for _ in range(3)), nn.Linear(128, 3)]

    plain, travelling = build(), build()
    inputs = torch.randn(8, CONTEXT, 65)
    net = nn.Sequential(*plain)
    optimizer = MeZO(net.parameters(), lr=1e-5)
    with ZO2Trainer(travelling, lr=1e-5, device_slots=2) as trainer:
        for _ in range(6):
            expected = float(optimizer.step(lambda: net(inputs).square().mean()))
            assert trainer.step(inputs, lambda x: x.square().mean()) == expected
    assert_same(travelling, plain)


def test_blocks_see_parameters_that_require_gradients_as_in_memory() -> None:
    seen: list[tuple[bool, bool]] = []

    class Looking(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((isinstance(self.weight, nn.Parameter) and self.weight.requires_grad, self.bias.requires_grad))
            return super().forward(x)

    blocks = [Looking(3, 3) for _ in range(3)]
    blocks[1].bias.requires_grad_(False)
    with ZO2Trainer(blocks) as trainer:
        trainer.step(torch.ones(2, 3), lambda x: x.mean())
    assert seen == [(True, True)] * 2 + [(True, False)] * 2 + [(True, True)] * 2


@pytest.mark.parametrize("pinned", [(), (0, -1), (2, 3), tuple(range(8))])
def test_whatever_is_pinned_and_wherever_the_host_is(pinned: tuple[int, ...], tmp_path: Path) -> None:
    plain, travelling = transformer(), transformer()
    losses = in_memory(plain, 5, **OPTIONS)
    with ZO2Trainer(travelling, pinned=pinned, host_folder=tmp_path, **OPTIONS) as trainer:
        assert [trainer.step(tokens, entropy(targets)) for tokens, targets in batches(5)] == losses
    assert_same(travelling, plain)
    assert not list(tmp_path.iterdir())


def test_last_update_waits_until_it_is_flushed() -> None:
    plain, travelling = transformer(), transformer()
    in_memory(plain, 1, **OPTIONS)
    trainer = ZO2Trainer(travelling, **OPTIONS)
    trainer.step(*(lambda t, y: (t, entropy(y)))(*batches(1)[0]))
    weights = {f"{k}.{n}": p for k, block in enumerate(plain) for n, p in block.named_parameters() if p.requires_grad}
    before = trainer._tensors()
    assert all(not torch.equal(before[name], value) for name, value in weights.items())
    trainer.flush()
    assert all(torch.equal(before[name], value) for name, value in weights.items())
    trainer.flush()
    trainer.close()
    assert_same(travelling, plain)


def test_evaluation_between_steps_sees_the_update_and_changes_nothing() -> None:
    plain, travelling = transformer(), transformer()
    losses = in_memory(plain, 4, **OPTIONS)
    with ZO2Trainer(travelling, **OPTIONS) as trainer:
        found = []
        for tokens, targets in batches(4):
            found.append(trainer.step(tokens, entropy(targets)))
            logits = trainer.evaluate(tokens)
        with torch.no_grad():
            assert torch.equal(logits, nn.Sequential(*plain)(tokens))
        assert torch.equal(trainer.evaluate(tokens), logits)
    assert found == losses
    assert_same(travelling, plain)


@pytest.mark.parametrize("slots", [2, 3])
def test_peak_and_bytes_moved(slots: int) -> None:
    blocks = transformer(width=64)
    sizes = [layout_of(block).device_bytes for block in blocks]
    raw = [sum(t.numel() * t.element_size() for t in block.state_dict().values()) for block in blocks]
    assert all(0 <= padded - exact < 64 * 20 for padded, exact in zip(sizes, raw, strict=True))
    trainer = ZO2Trainer(blocks, device_slots=slots, **OPTIONS)
    tokens, targets = batches(3)[2]
    trainer.step(tokens, entropy(targets))
    boundary = 3 * len(tokens) * CONTEXT * 64 * 4
    pinned = sizes[0] + sizes[-1]
    assert trainer.activation_bytes == boundary
    assert trainer.peak_device_bytes == slots * max(sizes[1:-1]) + pinned + boundary + 4 * PIECE
    assert trainer.timeline.peak_device_bytes == trainer.peak_device_bytes
    assert trainer.timeline.bytes_moved() == 2 * sum(sizes[1:-1])
    assert trainer.timeline.bytes_moved("upload") == trainer.timeline.bytes_moved("offload")
    trainer.close()


class Allocations(TorchDispatchMode):
    """Bytes of all tensors made by operations inside the block, at their most, whoever made them."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        inputs = {
            t.untyped_storage()._cdata for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)
        }
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in inputs and storage._cdata not in self.alive:
                    self.alive[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.alive.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.alive.values()))
        return result


@pytest.mark.parametrize("host_dtype", ["float32", "bfloat16", "float8"])
def test_nothing_as_large_as_a_block_is_made_besides_the_slots(host_dtype: str) -> None:
    torch.manual_seed(0)
    blocks = [nn.Linear(8, 400), *(nn.Linear(400, 400) for _ in range(6)), nn.Linear(400, 1)]
    trainer = ZO2Trainer(blocks, device_slots=2, overlap=False, host_dtype=host_dtype, **OPTIONS)
    gc.collect()
    with Allocations() as seen:
        trainer.step(torch.ones(2, 8), lambda x: x.square().mean())
        trainer.step(torch.ones(2, 8), lambda x: x.square().mean())
    assert 4 * PIECE <= seen.peak <= 4 * PIECE + 20_000 < 400 * 400 * 4
    trainer.close()


def test_model_larger_than_the_budget() -> None:
    torch.manual_seed(0)
    blocks = [nn.Linear(8, 300), *(nn.Linear(300, 300) for _ in range(12)), nn.Linear(300, 1)]
    with ZO2Trainer(blocks, device_slots=2, device_budget=1_200_000, **OPTIONS) as trainer:
        assert trainer.model_bytes > 4_000_000
        trainer.step(torch.ones(2, 8), lambda x: x.square().mean())
        assert trainer.peak_device_bytes <= 1_200_000
        with pytest.raises(InputError, match="activations"):
            trainer.step(torch.ones(2000, 8), lambda x: x.square().mean())
        with pytest.raises(InputError, match="interrupted"):
            trainer.step(torch.ones(2, 8), lambda x: x.square().mean())
    with pytest.raises(InputError, match="device_slots"):
        ZO2Trainer([nn.Linear(8, 300), nn.Linear(300, 300), nn.Linear(300, 1)], device_budget=300_000)


@pytest.mark.parametrize(("host_dtype", "share"), [("bfloat16", 0.5), ("float8", 0.25)])
def test_short_wire_moves_fewer_bytes_and_stays_close(host_dtype: str, share: float) -> None:
    plain, travelling = transformer(width=64), transformer(width=64)
    options = OPTIONS | {"lr": 2e-5}
    losses = in_memory(plain, 8, **options)
    with ZO2Trainer(travelling, host_dtype=host_dtype, **options) as trainer:
        found = [trainer.step(tokens, entropy(targets)) for tokens, targets in batches(8)]
        full = sum(layout_of(block).device_bytes for block in travelling[1:-1])
        assert trainer.timeline.bytes_moved("upload") == pytest.approx(share * full, rel=0.01)
    worst = max(abs(a - b) for a, b in zip(found, losses, strict=True))
    assert 0 < worst < {"bfloat16": 0.02, "float8": 0.2}[host_dtype]
    for mine, theirs in zip(nn.ModuleList(travelling).parameters(), nn.ModuleList(plain).parameters(), strict=True):
        assert mine.dtype == torch.float32
        precision = {"bfloat16": 2**-8, "float8": 2**-3}[host_dtype]
        mine, theirs = mine.detach(), theirs.detach()
        assert float((mine - theirs).abs().max()) <= precision * float(theirs.abs().max()) + 0.02


@pytest.mark.parametrize("host_dtype", ["float32", "bfloat16", "float8"])
def test_saved_state_goes_on_to_the_bit_and_saving_changes_nothing(host_dtype: str, tmp_path: Path) -> None:
    whole, parts = transformer(), transformer()
    with ZO2Trainer(whole, host_dtype=host_dtype, **OPTIONS) as trainer:
        losses = [trainer.step(tokens, entropy(targets)) for tokens, targets in batches(6)]
    first = ZO2Trainer(parts, host_dtype=host_dtype, **OPTIONS)
    found = [first.step(tokens, entropy(targets)) for tokens, targets in batches(6)[:3]]
    first.save(tmp_path / "state.safetensors")
    first.close()
    fresh = transformer(seed=77)
    with ZO2Trainer(fresh, host_dtype=host_dtype, lr=1.0) as second:
        second.load(tmp_path / "state.safetensors")
        assert second.steps == 3
        found += [second.step(tokens, entropy(targets)) for tokens, targets in batches(6)[3:]]
    assert found == losses
    assert_same(fresh, whole)


def test_saved_file_holds_the_weights_by_name(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    blocks = transformer()
    trainer = ZO2Trainer(blocks, **OPTIONS)
    trainer.step(batches(1)[0][0], entropy(batches(1)[0][1]))
    trainer.flush()
    trainer.save(tmp_path / "weights.safetensors")
    trainer.close()
    read = load_file(tmp_path / "weights.safetensors")
    for name, tensor in nn.ModuleList(blocks).state_dict().items():
        assert torch.equal(read[name], tensor)


def test_files_of_other_models_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with ZO2Trainer(transformer(), **OPTIONS) as trainer:
        trainer.save(path)
        good = path.read_bytes()
        with pytest.raises(FileFormatError, match="no such file"):
            trainer.load(tmp_path / "absent")
        for cut in (4, 100, len(good) - 1):
            path.write_bytes(good[:cut])
            with pytest.raises(FileFormatError, match="readable"):
                trainer.load(path)
        path.write_bytes(good.replace(b"polyad-zeroth-order", b"polyad-zeroth-disorder"[:19]))
        with pytest.raises(FileFormatError, match="no state"):
            trainer.load(path)
        path.write_bytes(good)
        with (
            ZO2Trainer(transformer(), host_dtype="bfloat16") as other,
            pytest.raises(InputError, match="another model"),
        ):
            other.load(path)
        with ZO2Trainer(transformer(width=8)) as other, pytest.raises(InputError, match="another model"):
            other.load(path)
        trainer.load(path)


class Interrupting(nn.Module):
    """Raises at one of its calls."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.left = call

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return x


@pytest.mark.parametrize("call", [7, 8])
def test_interrupted_step_goes_on_from_a_saved_state(call: int, tmp_path: Path) -> None:
    plain, travelling = transformer(), transformer()
    losses = in_memory(plain, 5, **OPTIONS)
    travelling[4] = nn.Sequential(Interrupting(call), nn.GELU())
    found = []
    with ZO2Trainer(travelling, **OPTIONS) as trainer:
        for tokens, targets in batches(5):
            try:
                found.append(trainer.step(tokens, entropy(targets)))
            except KeyboardInterrupt:
                with pytest.raises(InputError, match="load"):
                    trainer.save(tmp_path / "bad.safetensors")
                trainer.load(tmp_path / "state.safetensors")
                found.append(trainer.step(tokens, entropy(targets)))
            trainer.save(tmp_path / "state.safetensors")
    assert found == losses
    travelling[4] = nn.GELU()
    assert_same(travelling, plain)


KILLED = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_offload import OPTIONS, batches, entropy, transformer
from polyad.optim.zeroth_order.offload import ZO2Trainer
trainer = ZO2Trainer(transformer(), host_folder=sys.argv[2], **OPTIONS)
for number in range(10**6):
    tokens, targets = batches(number % 20 + 1)[-1]
    trainer.step(tokens, entropy(targets))
    trainer.save(sys.argv[2] + "/state.safetensors")
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_killed_process_leaves_a_state_to_go_on_from(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        for _ in range(7):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".part.safetensors")] == [
        "state.safetensors"
    ]
    plain, travelling = transformer(), transformer(seed=3)
    losses = in_memory(plain, 20, **OPTIONS)
    with ZO2Trainer(travelling) as trainer:
        trainer.load(tmp_path / "state.safetensors")
        assert trainer.steps >= 7
        rest = batches(20)[trainer.steps :]
        assert [trainer.step(t, entropy(y)) for t, y in rest] == losses[20 - len(rest) :]
    if rest:
        assert_same(travelling, plain)


def test_batches_of_any_shape_and_blocks_with_several_values() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.5))

        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return self.weight * x, y + 1

    class Owner(nn.Module):
        """Returns a parameter itself, beside what came in."""

        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.arange(3.0))

        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return x, y, self.shift

    class Join(nn.Module):
        def forward(self, x: Tensor, y: Tensor, shift: Tensor) -> Tensor:
            return (x + shift) * y

    def build() -> list[nn.Module]:
        return [Pair(), Owner(), Pair3(), Join()]

    class Pair3(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Pair()

        def forward(self, x: Tensor, y: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return (*self.inner(x, y), shift)

    plain, travelling = build(), build()
    shapes: list[tuple[int, ...]] = [(3,), (2, 3), (4, 1, 5, 3), (0, 3)]
    optimizer = MeZO(nn.ModuleList(plain).parameters(), lr=0.01)
    with ZO2Trainer(travelling, lr=0.01, pinned=()) as trainer:
        for shape in shapes:
            inputs = (torch.ones(shape), torch.ones(shape))

            def run(inputs: tuple[Tensor, Tensor] = inputs) -> Tensor:
                values: Any = inputs
                for block in plain:
                    values = block(*values) if isinstance(values, tuple) else block(values)
                return values.square().sum()

            assert trainer.step(inputs, lambda x: x.square().sum()) == float(optimizer.step(run))
    assert_same(travelling, plain)


def test_running_statistics_travel_too_and_float64_and_tied_weights_within_a_block() -> None:
    def build() -> list[nn.Module]:
        torch.manual_seed(1)
        tied = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
        tied[2].weight = tied[0].weight
        mixed = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 6))
        return [nn.Linear(4, 6), mixed, tied, nn.Linear(6, 1)]

    plain, travelling = ([block.double() for block in build()] for _ in range(2))
    inputs = torch.randn(5, 4, dtype=torch.float64)
    net = nn.Sequential(*plain)
    optimizer = MeZO(net.parameters(), lr=0.02)
    with ZO2Trainer(travelling, lr=0.02) as trainer:
        for _ in range(4):
            assert trainer.step(inputs, lambda x: x.square().mean()) == float(
                optimizer.step(lambda: net(inputs).square().mean())
            )
    assert_same(travelling, plain)
    assert travelling[2][0].weight is travelling[2][2].weight


def test_learning_rate_may_change_and_losses_that_are_not_finite_update_nothing() -> None:
    plain, travelling = transformer(), transformer()
    net = nn.Sequential(*plain)
    optimizer = MeZO([p for p in net.parameters() if p.requires_grad], **OPTIONS)
    with ZO2Trainer(travelling, **OPTIONS) as trainer:
        for number, (tokens, targets) in enumerate(batches(5)):
            factor = math.nan if number == 2 else 1.0
            trainer.lr = optimizer.param_groups[0]["lr"] = 0.01 / (1 + number)
            with pytest.warns(NumericalWarning, match="skipped_steps") if number == 2 else nullcontext():
                mine = trainer.step(tokens, lambda x, y=targets, f=factor: f * entropy(y)(x))
            with pytest.warns(NumericalWarning, match="skipped_steps") if number == 2 else nullcontext():
                theirs = float(optimizer.step(lambda t=tokens, y=targets, f=factor: f * entropy(y)(net(t))))
            assert mine == theirs or (math.isnan(mine) and math.isnan(theirs))
        assert trainer.skipped_steps == 1
    assert_same(travelling, plain)


def test_a_loss_that_raises_costs_only_its_step() -> None:
    with ZO2Trainer(transformer(), **OPTIONS) as trainer:
        tokens, targets = batches(1)[0]
        with pytest.raises(InputError, match="one real number"):
            trainer.step(tokens, lambda logits: logits)
        trainer.step(tokens, entropy(targets))
        assert trainer.steps == 1


def test_blocks_get_their_parameters_back_and_take_no_memory_meanwhile() -> None:
    blocks = transformer()
    shapes = [p.shape for p in nn.ModuleList(blocks).parameters()]
    before = [p.detach().clone() for p in nn.ModuleList(blocks).parameters()]
    trainer = ZO2Trainer(blocks)
    assert [p.shape for p in nn.ModuleList(blocks).parameters()] == shapes
    assert all(p.untyped_storage().nbytes() <= 4 for p in nn.ModuleList(blocks).parameters())
    trainer.close()
    trainer.close()
    assert all(torch.equal(p, old) for p, old in zip(nn.ModuleList(blocks).parameters(), before, strict=True))
    with pytest.raises(InputError, match="closed"):
        trainer.step(torch.zeros(1, 1, dtype=torch.long), lambda x: x.mean())


def test_blocks_that_cannot_travel_are_refused() -> None:
    tied = transformer()
    tied[-1].weight = tied[0].weight
    with pytest.raises(InputError, match="tied weights"):
        ZO2Trainer(tied)
    flat = torch.randn(10)
    overlapping = [nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)]
    overlapping[0].weight.data, overlapping[1].weight.data = flat[:4].view(2, 2), flat[3:7].view(2, 2)
    with pytest.raises(InputError, match="share memory"):
        ZO2Trainer(overlapping)
    layer = nn.Linear(2, 2)
    cases: list[tuple[list[Any], dict[str, Any], str]] = [
        ([], {}, "empty"),
        ([layer, layer], {}, "tied"),
        ([nn.Linear(2, 2), "head"], {}, "torch modules"),
        ([nn.ReLU()], {}, "nothing to train"),
        ([nn.Linear(2, 2, device="meta")], {}, "CPU"),
        ([nn.Linear(2, 2, dtype=torch.complex64)], {}, "real"),
        ([nn.Linear(2, 2), nn.Dropout(0.1)], {}, "eval"),
        ([layer], {"lr": 0.0}, "lr"),
        ([layer], {"eps": math.nan}, "eps"),
        ([layer], {"device_slots": 0}, "device_slots"),
        ([layer], {"host_dtype": "int8"}, "host_dtype"),
        ([layer], {"pinned": (1,)}, "pinned"),
        ([layer], {"host_folder": "/no/such/folder"}, "host_folder"),
        ([layer], {"link_bandwidth": 0.0}, "link_bandwidth"),
    ]
    for blocks, options, text in cases:
        with pytest.raises(InputError, match=text):
            ZO2Trainer(blocks, **options).close()
