"""`torch.compile` of whole property models: the same numbers and gradients; minutes of a C++ compiler, so slow."""

from __future__ import annotations

import pytest
import torch

from tests.materials.properties.lattices import batch_of, cells, model_of


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cgc", "nnconv", "frame-averaged-cgc", "lattice"])
def test_compiled_models_give_the_same_tensors_and_gradients(name: str) -> None:
    model, data = model_of(name), batch_of(cells())
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    results = []
    for run in (model, torch.compile(model)):
        tensors = run(data)
        gradients = torch.autograd.grad(tensors.square().sum(), weights, allow_unused=True)
        results.append([tensors.detach(), *(g for g in gradients if g is not None)])
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-8, atol=1e-12 * float(plain.abs().max() + 1e-30))
