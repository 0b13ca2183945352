"""Checks of mathematical claims, for your own functions and for Polyad's: equivariance, order, definiteness, gradients.

Each check measures a figure and raises AssertionError that names it when it is beyond the tolerance. Each also
refuses a result that would make it empty (NaN, or identically zero where zero proves nothing).

For tests, claims and benchmarks; library code does not import this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from polyad.tensors.rotations import random_rotations

Action = Callable[[Any, Tensor], Tensor]
"""An action of a group: (element, tensor) -> tensor."""


def assert_equivariant(
    function: Callable[..., Tensor],
    inputs: Tensor | Sequence[Tensor],
    *,
    act_on_input: Action | Sequence[Action],
    act_on_output: Action,
    elements: Iterable[Any],
    tolerance: float = 1e-10,
) -> None:
    """Assert f(g x) = g f(x) for every group element g, to `tolerance` relative to the largest entry of g f(x).

    With several inputs, give one action for all of them or one for each. An invariant function has the action
    `lambda g, y: y` on its output.
    """
    arguments = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    actions = [act_on_input] * len(arguments) if callable(act_on_input) else list(act_on_input)
    value = function(*arguments)
    count, worst, where = 0, -1.0, 0
    for count, element in enumerate(elements, start=1):
        moved = function(*(act(element, argument) for act, argument in zip(actions, arguments, strict=True)))
        expected = act_on_output(element, value)
        error = _relative_error(moved, expected, what=f"output for element {count - 1}")
        if error > worst:
            worst, where = error, count - 1
    if count == 0:
        raise AssertionError("elements is empty: nothing was checked")
    if worst > tolerance:
        raise AssertionError(
            f"not equivariant: relative error {worst:.3e} for element {where}, allowed {tolerance:.1e}"
        )


def assert_rotation_covariant(
    function: Callable[..., Tensor],
    inputs: Tensor | Sequence[Tensor],
    *,
    act_on_input: Action | Sequence[Action],
    act_on_output: Action,
    count: int = 8,
    seed: int = 0,
    reflections: bool = True,
    tolerance: float = 1e-10,
) -> None:
    """`assert_equivariant` for `count` random rotations Q (3, 3); with `reflections`, from all of O(3)."""
    first = inputs if isinstance(inputs, Tensor) else inputs[0]
    generator = torch.Generator().manual_seed(seed)
    rotations = random_rotations(count, generator=generator, reflections=reflections, dtype=first.dtype)
    assert_equivariant(
        function,
        inputs,
        act_on_input=act_on_input,
        act_on_output=act_on_output,
        elements=rotations.to(first.device),
        tolerance=tolerance,
    )


def assert_positive_semidefinite(matrix: Tensor, *, tolerance: float = 1e-12) -> None:
    """Assert that each matrix (..., n, n) is symmetric with eigenvalues >= -tolerance, relative to its largest one."""
    _refuse_nan(matrix, "matrix")
    values = torch.linalg.eigvalsh((matrix + matrix.mT) / 2)
    size = values.abs().amax(dim=-1).clamp_min(torch.finfo(matrix.dtype).tiny)
    asymmetry = ((matrix - matrix.mT).abs().amax(dim=(-2, -1)) / size).max().item()
    if asymmetry > tolerance:
        raise AssertionError(f"not symmetric: relative difference {asymmetry:.3e}, allowed {tolerance:.1e}")
    smallest = (values[..., 0] / size).min().item()
    if smallest < -tolerance:
        raise AssertionError(
            f"not positive semidefinite: smallest eigenvalue is {smallest:.3e} of the largest, allowed {-tolerance:.1e}"
        )


def assert_convergence_order(
    errors: Sequence[float] | Tensor, steps: Sequence[float] | Tensor, order: float | int, tolerance: float = 0.2
) -> None:
    """Assert that errors fall as steps**order, by the least-squares slope of log(error) over log(step).

    Give at least three steps in the range where the method converges and rounding does not yet show.
    """
    error, step = (torch.as_tensor(values, dtype=torch.float64).flatten() for values in (errors, steps))
    if len(error) != len(step) or len(error) < 3:
        raise AssertionError(f"{len(error)} errors and {len(step)} steps were given; give as many of each, at least 3")
    if not bool(((error > 0) & (step > 0) & torch.isfinite(error) & torch.isfinite(step)).all()):
        raise AssertionError(f"errors and steps must be positive and finite: errors {error.tolist()}")
    horizontal, vertical = step.log() - step.log().mean(), error.log() - error.log().mean()
    slope = float((horizontal * vertical).sum() / horizontal.square().sum())
    if not abs(slope - order) <= tolerance:
        local = (error.log().diff() / step.log().diff()).tolist()
        raise AssertionError(
            f"convergence order is {slope:.3f}, expected {order:g} within {tolerance:g}; "
            f"between neighbouring steps: {', '.join(f'{value:.2f}' for value in local)}"
        )


def assert_gradient_matches(
    function: Callable[..., Tensor],
    inputs: Tensor | Sequence[Tensor],
    *,
    tolerance: float = 1e-6,
    step: float = 1e-4,
    seed: int = 0,
) -> None:
    """Assert that autograd's gradient equals a fourth-order central difference in every entry of every input.

    The output is contracted with random weights first. The error is relative to the largest entry of the difference
    gradient of that input; `step` is relative to the largest entry of the input. Inputs are float64.
    """
    arguments = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    leaves = [argument.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for argument in arguments]
    if any(leaf.dtype != torch.float64 for leaf in leaves):
        raise AssertionError("inputs must be float64: differences in lower precision prove nothing")
    output = function(*leaves)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = weights.to(output.device)
    gradients = torch.autograd.grad((output * weights).sum(), leaves, allow_unused=True)

    def contracted(changed: Sequence[Tensor]) -> float:
        return float((function(*changed) * weights).sum())

    for index, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        numerical = _central_differences(contracted, [entry.detach() for entry in leaves], index, step)
        exact = torch.zeros_like(leaf) if gradient is None else gradient
        error = _relative_error(exact, numerical, what=f"gradient of input {index}")
        if error > tolerance:
            worst = int((exact - numerical).abs().argmax())
            raise AssertionError(
                f"gradient of input {index} is wrong: relative error {error:.3e}, allowed {tolerance:.1e}; "
                f"entry {worst}: autograd {float(exact.flatten()[worst]):.9g}, "
                f"differences {float(numerical.flatten()[worst]):.9g}"
            )


def _central_differences(
    function: Callable[[Sequence[Tensor]], float], arguments: list[Tensor], index: int, step: float
) -> Tensor:
    base = arguments[index]
    width = step * max(float(base.abs().max()), 1e-3) if base.numel() else step
    result = torch.zeros_like(base)
    for entry in range(base.numel()):
        values = []
        for offset in (-2, -1, 1, 2):
            changed = base.clone()
            changed.view(-1)[entry] += offset * width
            values.append(function([*arguments[:index], changed, *arguments[index + 1 :]]))
        result.view(-1)[entry] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * width)
    return result


def _relative_error(value: Tensor, expected: Tensor, *, what: str) -> float:
    _refuse_nan(value, what)
    _refuse_nan(expected, what)
    if value.shape != expected.shape:
        raise AssertionError(f"{what}: shape is {tuple(value.shape)}, expected {tuple(expected.shape)}")
    size = float(expected.detach().abs().max()) if expected.numel() else 0.0
    if size == 0.0 and not bool((value != 0).any()):
        raise AssertionError(f"{what} is identically zero: this proves nothing, give other inputs")
    return float((value - expected).detach().abs().max()) / max(size, torch.finfo(value.dtype).tiny)


def _refuse_nan(value: Tensor, what: str) -> None:
    broken = int((~torch.isfinite(value)).sum())
    if broken:
        raise AssertionError(f"{what}: {broken} of {value.numel()} entries are NaN or infinite")
