"""S124: criticality seen in the largest principal component of loop images, and their renormalisation.

Closed loops of the Ising model are sampled by a worm; the leading eigenvalue of the link covariance is followed over
sizes and temperatures, images are blocked, curves are collapsed, and the two-state tensor renormalisation group is set
beside the images. Every number stands beside its exact value from Kaufman's partition function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from polyad.tensors.renormalization import (
    CRITICAL_BETA,
    BlockingFlow,
    block_grey,
    blocking_flow,
    collapse_spread,
    leading_eigenvalue,
    link_occupation,
    loop_statistics,
    picture,
    two_state_fixed_point,
    two_state_step,
    two_state_tensor,
    worm,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S124",
    "slug": "image_renormalization",
    "title": "Examples of renormalization group transformations for image sets",
    "paper": "S. Foreman, J. Giedt, Y. Meurice, J. Unmuth-Yockey, Phys. Rev. E 98, 052129 (2018), arXiv:1807.10250",
    "bibtex": """@article{foreman2018examples,
  title = {Examples of renormalization group transformations for image sets},
  author = {Foreman, Samuel and Giedt, Joel and Meurice, Yannick and Unmuth-Yockey, Judah},
  journal = {Physical Review E},
  volume = {98},
  pages = {052129},
  year = {2018},
  eprint = {1807.10250},
  archivePrefix = {arXiv}
}""",
    "package": "tensors",
    "module": "renormalization",
    "api": [
        "worm", "loop_observables", "loop_statistics", "leading_eigenvalue", "principal_components", "block_links",
        "block_grey", "blocking_flow", "collapse_spread", "two_state_fixed_point",
    ],
    "tags": ["renormalization", "images", "Monte Carlo", "Ising model", "principal components"],
    "claim": "The largest principal component of loop images diverges with the logarithm of the size at criticality, "
    "and blocking the images is a renormalization group like that of two-state tensors.",
    "minutes": 5,
    "extras": [],
    "published": {"nu anisotropic": 0.964, "nu isotropic": 0.987, "nu isotropic, second": 0.993},
}  # fmt: skip

CRITICAL_TEMPERATURE = 1 / CRITICAL_BETA
SIZES = (8, 16, 32, 64)
OCCUPATIONS = {  # after 0, 1, ... parity blockings of L = 64, known from 2000 samples
    2.0: (0.241, 0.341, 0.427, 0.482, 0.493),
    CRITICAL_TEMPERATURE: (0.149, 0.207, 0.259, 0.306, 0.359),
    2.5: (0.076, 0.095, 0.105, 0.106, 0.107),
    3.0: (0.031, 0.036, 0.036, 0.037, 0.036),
}


def run(report: Report) -> None:
    """Fill the report; about five minutes on two cores."""
    steps = 5
    at_critical = _divergence(report)
    report.progress(1, steps)
    _away(report)
    report.progress(2, steps)
    flows, image = _flows(report)
    report.progress(3, steps)
    curves = _collapse(report)
    report.progress(4, steps)
    _two_states(report)
    _digits(report)
    report.figure(_figure(at_critical, curves, flows, image))
    report.progress(5, steps)


def _exact(size: int, temperature: float) -> float:
    variance = loop_statistics(torch.tensor(1 / temperature, dtype=torch.float64), size, size)[1]
    return float(variance) / (2 * size**2)


def _divergence(report: Report) -> list[float]:
    """Leading eigenvalue at T_c against the logarithm of the size."""
    found, worst = [], 0.0
    occupations = []
    for size in SIZES:
        images = worm(size, CRITICAL_BETA, 20_000, seed=size)
        found.append(float(leading_eigenvalue(images)))
        worst = max(worst, abs(found[-1] / _exact(size, CRITICAL_TEMPERATURE) - 1))
        if size > 8:
            occupations.append(float(blocking_flow(images[:4000]).occupation[int(np.log2(size)) - 2]))
        if size == 64:
            raw = float(leading_eigenvalue(images[:5000], translations=False))
    logs = np.log(SIZES)
    slope, offset = np.polyfit(logs, found, 1)
    residual = np.array(found) - slope * logs - offset
    share = 1 - residual.var() / np.var(found)
    exact = np.polyfit(logs, [_exact(size, CRITICAL_TEMPERATURE) for size in SIZES], 1)[0]
    report.row(
        quantity="R^2 of the leading eigenvalue at T_c against ln L",
        paper="linear, >= 0.99",
        ours=share,
        holds=share >= 0.99,
    )
    report.row(quantity="its slope (baseline: exact)", paper=0.312, baseline=exact, ours=slope)
    report.row(
        quantity="largest deviation from the exact value at T_c, L = 8..64 [%]",
        paper="<= 7",
        ours=100 * worst,
        holds=worst <= 0.07,
    )
    report.row(
        quantity="leading eigenvalue at T_c, L = 64 (baseline: raw, from 5,000 samples)", baseline=raw, ours=found[-1]
    )
    report.note(
        "blocked occupation at T_c from L = 16, 32, 64 down to 4 does not collapse at these sizes: "
        + ", ".join(f"{value:.3f}" for value in occupations)
    )
    return found


def _away(report: Report) -> None:
    for temperature in (2.0, 3.0):
        values = {
            size: float(leading_eigenvalue(worm(size, 1 / temperature, 20_000, seed=100 + size))) for size in (32, 64)
        }
        change = abs(values[64] / values[32] - 1)
        report.row(
            quantity=f"change of the leading eigenvalue from L = 32 to 64 at T = {temperature} [%]",
            paper="< 5",
            ours=100 * change,
            holds=change < 0.05,
        )
        worst = max(abs(value / _exact(size, temperature) - 1) for size, value in values.items())
        report.row(
            quantity=f"deviation from the exact value at T = {temperature}, L = 32 and 64 [%]",
            paper="<= 7",
            ours=100 * worst,
            holds=worst <= 0.07,
        )


def _flows(report: Report) -> tuple[dict[tuple[float, str], BlockingFlow], Tensor]:
    """Occupation of images of L = 64 under both blockings."""
    flows: dict[tuple[float, str], BlockingFlow] = {}
    worst = 0.0
    for temperature, expected in OCCUPATIONS.items():
        images = worm(64, 1 / temperature, 4000, seed=7)
        if temperature == CRITICAL_TEMPERATURE:
            image = picture(images[0])
        for rule in ("parity", "union"):
            flows[temperature, rule] = blocking_flow(images, rule, steps=6)
        found = flows[temperature, "parity"].occupation[:5]
        worst = max(worst, float((found - torch.tensor(expected, dtype=torch.float64)).abs().max()))
        tensor = two_state_tensor(torch.tensor(1 / temperature, dtype=torch.float64))
        for _ in range(6):
            tensor = two_state_step(tensor)
        report.row(
            quantity=f"odd links after six blockings at T = {temperature:.4g} (baseline: two-state tensors)",
            baseline=float(link_occupation(tensor)),
            ours=float(flows[temperature, "parity"].occupation[6]),
        )
    report.row(
        quantity="occupation after 0..4 parity blockings, four temperatures: largest deviation",
        paper="<= 0.015",
        ours=worst,
        holds=worst <= 0.015,
    )
    rising = min(float(flow.occupation.diff().min()) for (_, rule), flow in flows.items() if rule == "union")
    lowest = min(float(flow.occupation[-1]) for (_, rule), flow in flows.items() if rule == "union")
    report.row(
        quantity="occupation after six union blockings, four temperatures: lowest",
        paper="rises towards 1",
        ours=lowest,
        holds=rising > 0,
    )
    return flows, image


def _collapse(report: Report) -> dict[int, tuple[Tensor, Tensor]]:
    """Curves of three sizes, their peak, and how well they collapse for three exponents."""
    curves = {}
    for size, widest in ((16, 0.1251), (32, 0.0886), (64, 0.0626)):
        reduced = torch.linspace(-widest, widest, 13, dtype=torch.float64)
        values = [
            leading_eigenvalue(worm(size, CRITICAL_BETA / (1 + t), 8000, seed=1000 * size + k))
            for k, t in enumerate(reduced.tolist())
        ]
        curves[size] = (reduced, torch.stack(values))
    top = slice(3, 10)
    a, b, _ = np.polyfit(curves[64][0][top].numpy(), curves[64][1][top].numpy(), 2)
    peak = CRITICAL_TEMPERATURE * (1 - b / (2 * a))
    report.row(
        quantity="peak temperature of the leading eigenvalue, L = 64 (baseline: exact)",
        paper="within 1.5 %",
        baseline=2.2799,
        ours=peak,
        holds=abs(peak / 2.2799 - 1) <= 0.015,
    )
    spread = {nu: collapse_spread(curves, nu) for nu in (1.0, 2.0, 0.5)}
    exact = {
        size: (t, torch.tensor([_exact(size, CRITICAL_TEMPERATURE * (1 + x)) for x in t.tolist()]).double())
        for size, (t, _) in curves.items()
    }
    other = min(spread[2.0], spread[0.5])
    report.row(
        quantity="spread of collapsed curves with nu = 1 (baseline: the better of nu = 2 and 1/2)",
        paper="<= 0.5 x",
        baseline=other,
        ours=spread[1.0],
        holds=spread[1.0] <= 0.5 * other,
    )
    report.row(quantity="the same spread from exact curves at these temperatures", ours=collapse_spread(exact, 1.0))
    return curves


def _two_states(report: Report) -> None:
    for blocking, published in (("anisotropic", 0.964), ("isotropic", 0.987), ("transfer", 0.993)):
        nu = two_state_fixed_point(blocking).nu
        report.row(
            quantity=f"exponent nu of two-state tensors, {blocking} (exact: 1)",
            paper=published,
            ours=nu,
            holds=abs(nu - published) <= 0.003,
        )


def _digits(report: Report) -> None:
    """The generic image-set demonstration, where scikit-learn is at hand."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        report.note("handwritten digits are not shown: they come with scikit-learn, which is not installed")
        return
    images = torch.from_numpy(load_digits().images / 16.0)
    text = []
    for step in range(3):
        images = block_grey(images, cutoff=0.5) if step else (images > 0.5).double()
        eigenvalue = float(leading_eigenvalue(images, translations=False))
        text.append(f"{images.shape[-1]} x {images.shape[-1]}: {float(images.mean()):.3f}, {eigenvalue:.3f}")
    report.note("handwritten digits, cut at 0.5 and blocked; mean and leading eigenvalue: " + "; ".join(text))


def _figure(
    at_critical: list[float],
    curves: dict[int, tuple[Tensor, Tensor]],
    flows: dict[tuple[float, str], BlockingFlow],
    image: Tensor,
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4), layout="constrained")
    first, second, third, fourth = figure.subplots(1, 4)
    first.imshow(image.numpy().T, cmap="Greys", origin="lower")
    first.set(title="loops at $T_c$, L = 64", xlabel="pixel", ylabel="pixel")
    second.plot(np.log2(SIZES), at_critical, "o", label="worm")
    second.plot(np.log2(SIZES), [_exact(size, CRITICAL_TEMPERATURE) for size in SIZES], "k--", label="exact")
    second.set(xlabel="log2 L", ylabel="leading eigenvalue at $T_c$")
    for size, (reduced, values) in curves.items():
        third.plot(size * reduced.numpy(), values.numpy() - 0.3125 * np.log(size), "o-", label=f"L = {size}")
    third.set(xlabel="$t L$", ylabel="leading eigenvalue - 0.3125 ln L", xlim=(-2, 2))
    for (temperature, rule), flow in flows.items():
        style = "o-" if rule == "parity" else "x:"
        fourth.plot(flow.occupation.numpy(), style, label=f"T = {temperature:.3g}, {rule}")
    fourth.set(xlabel="blockings", ylabel="link occupation")
    for axes in (second, third, fourth):
        axes.legend(fontsize="x-small")
    return figure
