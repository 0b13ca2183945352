"""Potentials: what the verbs of `polyad.cli.learn` do for energies and forces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from polyad.cli.learn_inputs import is_number, options_by_model, read_atoms
from polyad.cli.progress import progress_bar
from polyad.cli.tables import number, print_table
from polyad.errors import InputError

if TYPE_CHECKING:
    from polyad.materials.structures import Structures


def train_on_atoms(
    data: Path, model: str, *, out: Path, validation: str, keys: tuple[str, str], limit: int | None, **training: Any
) -> None:
    """Train a potential and print its errors on the held-out part."""
    from polyad.materials.learning.data import hold_out
    from polyad.materials.learning.potentials import train_potential

    structures = read_atoms(data, *keys, limit)
    if is_number(validation):
        held, rest = hold_out(structures, float(validation), seed=training["seed"])
    else:
        held, rest = read_atoms(Path(validation), *keys, None), structures
    with progress_bar(f"Training {model}", unit="steps" if training["minutes"] is None else "thousandths") as advance:
        _, result = train_potential(rest, model, folder=out, validation=held, progress=advance, **training)
    last = min(result.history, key=lambda row: row["validation_loss"])
    words = {"validation_energy_mae": "energy an atom", "validation_forces_mae": "force component"}
    print_table(
        ["mean absolute error", f"of {len(held)} held-out structures"],
        [[text, number(last[key])] for key, text in words.items() if key in last],
        title=f"{model}, best of {result.steps} steps ({result.seconds:.0f} s)",
    )
    typer.echo(f"wrote {out / 'best.safetensors'} (stopped by {result.stopped}; metrics in {out / 'metrics.csv'})")


def predict_atoms(model: Path, files: Sequence[Path], out: Path, *, stress: bool, precision: str) -> None:
    """Energies, forces and stresses to an extended XYZ file; errors where the files hold values."""
    import torch

    from polyad.materials.learning.potentials import evaluate_potential, load_potential
    from polyad.materials.structures import Structures, read_structures
    from polyad.materials.structures.writers import write_extxyz

    potential = load_potential(model).to(getattr(torch, precision))
    parts = [read_structures(file) for file in files]
    shared = [set(part.targets) & {"energy"} | set(part.node_targets) & {"forces"} for part in parts]
    kept = set.intersection(*shared)
    whole = Structures.concatenate(
        [
            part.replace(
                targets={key: value for key, value in part.targets.items() if key in kept},
                node_targets={key: value for key, value in part.node_targets.items() if key in kept},
            )
            for part in parts
        ]
    )
    with progress_bar("Predicting", unit="structures") as advance:
        found = evaluate_potential(potential, whole, stress=stress, progress=advance)
    rows = _differences(found, whole)
    if rows:
        print_table(["error", "mean absolute", "root mean square", "largest"], rows, title=f"{len(whole)} structures")
    write_extxyz(out, whole, found)
    typer.echo(f"wrote {out}: energies{', forces' if 'forces' in found else ''}{', stresses' if stress else ''}")


def compare_on_atoms(
    data: Path,
    models: str,
    *,
    out: Path,
    test: str,
    keys: tuple[str, str],
    limit: int | None,
    minutes: float,
    options: Sequence[str] | None,
    **training: Any,
) -> None:
    """Train several potentials for the same time and print what each came to."""
    from polyad.files import atomic_path, atomic_write
    from polyad.materials.learning.comparing import compare_potentials, comparison_facts, plot_comparison
    from polyad.materials.learning.registry import POTENTIALS

    names = sorted(POTENTIALS) if models == "all" else [name for name in models.split(",") if name]
    structures = read_atoms(data, *keys, limit)
    held: Any = float(test) if is_number(test) else read_atoms(Path(test), *keys, None)
    per_model = options_by_model(options, names)
    found = []
    for name in names:
        with progress_bar(f"Training {name}", unit="thousandths") as advance:
            found += compare_potentials(
                structures,
                [name],
                folder=out,
                minutes=minutes,
                test=held,
                options=per_model,
                progress=lambda _, bar=advance: bar,  # type: ignore[misc]
                **training,
            )
    if not found:
        raise InputError(f"--models: {models!r} names none; give names with commas between them, or 'all'")
    rows = [
        [
            x.model,
            number(x.energy_mae),
            number(x.force_mae),
            f"{x.equivariance:.1e}",
            f"{x.parameters:,}",
            number(x.rate, 3),
            f"{x.steps:,}",
            number(x.evaluation, 3),
        ]
        for x in found
    ]
    columns = ["model", "energy error an atom", "force error", "equivariance error", "parameters", "structures/s"]
    columns += ["steps", "ms a structure"]
    print_table(columns, rows, title=f"{data.name}: test errors (mean absolute) after {minutes:g} min each")
    with atomic_write(out / "comparison.json") as handle:
        handle.write(json.dumps(comparison_facts(found), indent=1).encode())
    with atomic_path(out / "comparison.png") as path:
        plot_comparison(found).savefig(path, dpi=150)
    typer.echo(f"wrote {out / 'comparison.json'} and {out / 'comparison.png'}")


def _differences(found: Any, whole: Structures) -> list[list[str]]:
    gaps = {}
    if "energy" in whole.targets:
        gaps["energy an atom"] = (found["energy"].double() - whole.targets["energy"]) / whole.node_start.diff()
    if "forces" in whole.node_targets and "forces" in found:
        gaps["force component"] = found["forces"].double() - whole.node_targets["forces"]
    return [
        [name, *(number(float(x)) for x in (gap.abs().mean(), gap.square().mean().sqrt(), gap.abs().max()))]
        for name, gap in gaps.items()
    ]
