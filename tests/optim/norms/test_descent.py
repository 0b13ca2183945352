"""Steps of both optimisers against torch's own and against formulas written out, layer by layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.norms import ModularSteepestDescent, SteepestDescent, dual_map, dual_norm, norm, recommend_norms


def parameter(*shape: int, seed: int = 0) -> nn.Parameter:
    """With a gradient that is not its own value."""
    generator = torch.Generator().manual_seed(seed)
    made = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
    made.grad = torch.randn(shape, generator=generator, dtype=torch.float64)
    return made


def step_of(optimizer: torch.optim.Optimizer, *parameters: nn.Parameter) -> list[Tensor]:
    """How far one step moves each."""
    before = [p.detach().clone() for p in parameters]
    optimizer.step()
    return [p.detach() - b for p, b in zip(parameters, before, strict=True)]


def grad(p: nn.Parameter) -> Tensor:
    assert p.grad is not None
    return p.grad


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_euclidean_descent_is_sgd(momentum: float) -> None:
    ours, theirs = parameter(4, 3, 2), parameter(4, 3, 2)
    optimizers = [
        SteepestDescent([ours], lr=0.1, norm="l2", momentum=momentum),
        torch.optim.SGD([theirs], lr=0.1, momentum=momentum),
    ]
    for k in range(5):
        for p, optimizer in zip((ours, theirs), optimizers, strict=True):
            p.grad = (p.detach() - k).sin()
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("kind", ["inf", "row", "col", "spectral", "rms_rms", "nuclear", "schatten-3"])
@pytest.mark.parametrize("scale", ["dual", "unit"])
def test_a_step_is_the_closed_form_for_each_of_several_shapes(kind: str, scale: str) -> None:
    parameters = [parameter(*shape, seed=k) for k, shape in enumerate([(4, 3), (3, 4), (4, 3), (2, 5), (4, 3)])]
    optimizer = SteepestDescent(parameters, lr=0.1, norm=kind, scale=scale, polar="svd")
    for p, moved in zip(parameters, step_of(optimizer, *parameters), strict=True):
        size = dual_norm(grad(p), kind) if scale == "dual" else 1.0
        assert torch.allclose(moved, -0.1 * size * dual_map(grad(p), kind), atol=1e-12)


def test_momentum_takes_the_gradients_place() -> None:
    p = parameter(3, 4)
    optimizer = SteepestDescent([p], lr=0.1, norm="spectral", scale="unit", momentum=0.5, polar="svd")
    memory = torch.zeros(3, 4, dtype=torch.float64)
    for k in range(3):
        p.grad = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
        memory = 0.5 * memory + p.grad
        (moved,) = step_of(optimizer, p)
        assert torch.allclose(moved, -0.1 * dual_map(memory, "spectral"), atol=1e-12)


def test_tables_convolutions_and_packed_projections_are_the_matrices_that_they_hold() -> None:
    """Rows of a table are columns of the operator; a kernel is flattened; thirds of a projection stand alone."""
    table, kernel, packed, back = parameter(6, 4), parameter(4, 3, 2, 2, seed=1), parameter(6, 5), parameter(3, 4, 2)
    groups: list[dict[str, Any]] = [
        {"params": [table], "norm": "l1_rms", "transposed": True},
        {"params": [kernel], "norm": "rms_rms"},
        {"params": [packed], "norm": "rms_rms", "pieces": 3},
        {"params": [back], "norm": "rms_rms", "transposed": True},
    ]
    moved = step_of(SteepestDescent(groups, lr=1.0, scale="unit", polar="svd"), table, kernel, packed, back)
    rows = grad(table)
    assert torch.allclose(moved[0], -2 * rows / rows.norm(dim=1, keepdim=True), atol=1e-12)  # sqrt of width 4
    flat = -dual_map(grad(kernel).reshape(4, 12), "rms_rms")
    assert torch.allclose(moved[1], flat.view(4, 3, 2, 2), atol=1e-12)
    thirds = torch.cat([-dual_map(piece, "rms_rms") for piece in grad(packed).chunk(3)])
    assert torch.allclose(moved[2], thirds, atol=1e-12)
    forwards = -dual_map(grad(back).transpose(0, 1).reshape(4, 6), "rms_rms")
    assert torch.allclose(moved[3], forwards.view(4, 3, 2).transpose(0, 1), atol=1e-12)


def test_a_bias_is_one_column_and_a_number_one_entry() -> None:
    bias, number = parameter(5), parameter()
    moved = step_of(SteepestDescent([bias, number], lr=1.0, norm="rms_rms", scale="unit", polar="svd"), bias, number)
    assert torch.allclose(moved[0], -grad(bias) / grad(bias).square().mean().sqrt(), atol=1e-12)
    assert float(moved[1]) == pytest.approx(-float(grad(number).sign()))


@pytest.mark.parametrize("scale", ["dual", "unit"])
def test_modular_steps_are_the_formula(scale: str) -> None:
    wide, square, packed, table = parameter(3, 8), parameter(4, 4, seed=1), parameter(6, 3, seed=2), parameter(5, 2)
    groups: list[dict[str, Any]] = [
        {"params": [wide, square], "mass": 2.0},
        {"params": [packed], "norm": "spectral", "pieces": 2, "mass": 0.5},
        {"params": [table], "norm": "l1_rms", "transposed": True, "lr": 0.03},
    ]
    layers = [(grad(wide), "rms_rms", 2.0), (grad(square), "rms_rms", 2.0)]
    layers += [(piece, "spectral", 0.5) for piece in grad(packed).chunk(2)]
    layers += [(grad(table).mT, "l1_rms", 1.0)]
    eta = sum(float(dual_norm(g, kind)) / mass for g, kind, mass in layers) if scale == "dual" else 1.0
    expected = [-eta / mass * dual_map(g, kind) for g, kind, mass in layers]
    optimizer = ModularSteepestDescent(groups, lr=0.1, scale=scale, polar="svd")
    moved = step_of(optimizer, wide, square, packed, table)
    assert torch.allclose(moved[0], 0.1 * expected[0], atol=1e-12)
    assert torch.allclose(moved[1], 0.1 * expected[1], atol=1e-12)
    assert torch.allclose(moved[2], 0.1 * torch.cat(expected[2:4]), atol=1e-12)
    assert torch.allclose(moved[3], 0.03 * expected[4].mT, atol=1e-12)


def test_modular_step_minimises_the_model_of_the_whole_network() -> None:
    """No step of the same or another length does better on <G, D> + (max_l s_l |D_l|)^2 / (2 lr)."""
    weights, masses, kinds, rate = [parameter(3, 4), parameter(2, 3, seed=1)], (2.0, 0.7), ("rms_rms", "col"), 0.3

    def model(steps: list[Tensor]) -> Tensor:
        gains = sum((grad(p) * step).sum((-2, -1)) for p, step in zip(weights, steps, strict=True))
        sizes = [mass * norm(step, kind) for mass, step, kind in zip(masses, steps, kinds, strict=True)]
        return gains + torch.stack(sizes).amax(0).square() / (2 * rate)

    groups = [{"params": [p], "mass": s, "norm": k} for p, s, k in zip(weights, masses, kinds, strict=True)]
    ours = step_of(ModularSteepestDescent(groups, lr=rate, polar="svd"), *weights)
    best = float(model(ours))
    generator = torch.Generator().manual_seed(0)
    for spread in (1e-3, 1e-2, 0.1, 1.0):
        others = [s + spread * torch.randn(5_000, *s.shape, generator=generator, dtype=torch.float64) for s in ours]
        assert float(model(others).min()) > best
    for factor in (0.99, 1.01):
        assert float(model([factor * s for s in ours])) > best


def test_recommended_groups_train_a_model_of_many_layers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 8), nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True))
    head = nn.Linear(8, 7)
    words = torch.randint(7, (4, 6), generator=torch.Generator().manual_seed(0))
    for make in (SteepestDescent, ModularSteepestDescent):
        losses = []
        optimizer = make(recommend_norms(nn.ModuleList([model, head])), lr=0.05, scale="unit")
        for _ in range(30):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(head(model(words)).flatten(0, 1), words.flatten())
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.5 * losses[0]
        for layer in (*model, head):
            for module in layer.modules():
                if isinstance(module, (nn.Linear, nn.Embedding)):
                    module.reset_parameters()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "max"}, "unknown"),
        ({"scale": "long"}, "scale"),
        ({"polar": "qr"}, "polar"),
        ({"polar_steps": 0}, "polar_steps"),
        ({"momentum": 1.0}, "momentum"),
        ({"pieces": 2}, "pieces"),
        ({"lr": 0.0}, "lr"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    for make in (SteepestDescent, ModularSteepestDescent):
        with pytest.raises(InputError, match=message):
            make([parameter(3, 4)], **options)


def test_modular_groups_share_one_scale_and_need_a_mass() -> None:
    with pytest.raises(InputError, match="one for all"):
        ModularSteepestDescent([{"params": [parameter(2)]}, {"params": [parameter(2)], "scale": "unit"}], scale="dual")
    with pytest.raises(InputError, match="mass"):
        ModularSteepestDescent([parameter(2)], mass=0.0)
