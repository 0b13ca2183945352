"""Properties of whole structures: what the verbs of `polyad.cli.learn` do for elasticity and its like."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from polyad.cli.learn_inputs import is_number, options_by_model, read_with_property
from polyad.cli.progress import progress_bar
from polyad.cli.tables import number, percent, print_table
from polyad.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from polyad.materials.properties.targets import PropertyTarget
    from polyad.materials.structures import Structures


def train_on_property(
    data: Path, model: str, *, target: str, out: Path, validation: str, limit: int | None, **training: Any
) -> None:
    """Train a network on a property and print its errors on the held-out part."""
    from polyad.materials.learning.data import hold_out
    from polyad.materials.learning.properties import train_property

    structures = read_with_property(data, target, limit)
    if is_number(validation):
        held, rest = hold_out(structures, float(validation), seed=training["seed"])
    else:
        held, rest = read_with_property(Path(validation), target, None), structures
    with progress_bar(f"Training {model}", unit="steps" if training["minutes"] is None else "thousandths") as advance:
        _, result = train_property(
            rest, model, target=target, folder=out, validation=held, progress=advance, **training
        )
    best = min(result.history, key=lambda row: row["validation_loss"])
    print_table(
        ["error", f"of {len(held)} held-out structures"],
        [
            ["mean absolute, a component", number(best["validation_mae"])],
            ["relative to the mean size", percent(best["validation_relative"])],
        ],
        title=f"{model} on {target}, best of {result.steps} steps ({result.seconds:.0f} s)",
    )
    typer.echo(f"wrote {out / 'best.safetensors'} (stopped by {result.stopped}; metrics in {out / 'metrics.csv'})")


def predict_property(model: Path, files: Sequence[Path], out: Path, *, precision: str) -> None:
    """A property to a CSV file, a row a structure; errors where the files hold values."""
    import torch

    from polyad.files import atomic_write
    from polyad.materials.learning.properties import evaluate_property, load_property
    from polyad.materials.structures import Structures, read_structures

    if out.suffix.lower() != ".csv":
        raise InputError(f"--out: {out} must end in .csv: the model gives a property, a row for each structure")
    built = load_property(model).to(getattr(torch, precision))
    parts = [read_structures(file) for file in files]
    shared = set.intersection(*[set(part.targets) for part in parts]) & {*built.target.columns, built.target.name}
    whole = Structures.concatenate(
        [part.replace(targets={key: part.targets[key] for key in shared}, node_targets={}) for part in parts]
    )
    with progress_bar("Predicting", unit="structures") as advance:
        found = evaluate_property(built, whole, progress=advance)
    _print_errors(built.target, found, whole)
    with atomic_write(out) as handle:
        handle.write(_csv(built.target, found, whole).encode())
    typer.echo(f"wrote {out}: {built.target.name} of {len(whole)} structures")


def compare_on_property(
    data: Path,
    models: str,
    *,
    target: str,
    out: Path,
    test: str,
    limit: int | None,
    minutes: float,
    options: Sequence[str] | None,
    seed: int,
    **training: Any,
) -> None:
    """Train several networks for the same time and print what each came to, beside the exact solver."""
    from polyad.files import atomic_path, atomic_write
    from polyad.materials.learning.comparing import comparison_facts
    from polyad.materials.learning.comparing_properties import (
        compare_properties,
        fitting_models,
        plot_properties,
        solver_row,
    )
    from polyad.materials.learning.data import hold_out

    structures = read_with_property(data, target, limit)
    if models == "all":
        names = fitting_models(structures, target=target, cutoff=training["cutoff"])
    else:
        names = [name for name in models.split(",") if name]
    per_model = options_by_model(options, names)
    if is_number(test):
        held, rest = hold_out(structures, float(test), seed=seed)
    else:
        held, rest = read_with_property(Path(test), target, None), structures
    found = []
    for name in names or [""]:
        with progress_bar(f"Training {name}", unit="thousandths") as advance:
            found += compare_properties(
                rest,
                [name],
                target=target,
                folder=out,
                minutes=minutes,
                test=held,
                options=per_model,
                seed=seed,
                progress=lambda _, bar=advance: bar,  # type: ignore[misc]
                **training,
            )
    solver = solver_row(held) if target == "elasticity" else None
    columns = ["model", "error", "relative", "directional", "equivariance error", "unphysical", "parameters"]
    columns += ["structures/s", "steps", "ms a structure"]
    rows = [
        [
            x.model,
            number(x.mae),
            percent(x.relative),
            "-" if x.directional is None else percent(x.directional),
            f"{x.equivariance:.1e}",
            "-" if x.unphysical is None else percent(x.unphysical),
            f"{x.parameters:,}" if x.steps else "-",
            number(x.rate, 3) if x.steps else "-",
            f"{x.steps:,}" if x.steps else "-",
            number(x.evaluation, 3),
        ]
        for x in [*found, *([solver] if solver else [])]
    ]
    print_table(columns, rows, title=f"{data.name}: {target} on {len(held)} test structures, {minutes:g} min each")
    if solver is not None and solver.evaluation < min(x.evaluation for x in found):
        typer.echo("for these cells the exact solver is faster than every network, and needs no training")
    with atomic_write(out / "comparison.json") as handle:
        facts = comparison_facts([*found, *([solver] if solver else [])])
        handle.write(json.dumps(facts, indent=1).encode())
    with atomic_path(out / "comparison.png") as path:
        plot_properties(found).savefig(path, dpi=150)
    typer.echo(f"wrote {out / 'comparison.json'} and {out / 'comparison.png'}")


def _print_errors(target: PropertyTarget, found: Tensor, whole: Structures) -> None:
    import torch

    from polyad.materials.learning.comparing_properties import property_errors

    if not whole.targets:
        return
    values = whole.targets[target.column(whole)]
    known = torch.nonzero(torch.isfinite(values).reshape(len(values), -1).all(1))[:, 0]
    if not len(known):
        return
    errors = property_errors(target, found[known], whole[known])
    rows = [["mean absolute, a component", number(errors["mae"])], ["relative", percent(errors["relative"])]]
    if errors["directional"] is not None:
        rows.append(["relative, of c(n) over directions n", percent(errors["directional"])])
    if errors["unphysical"] is not None:
        rows.append(["share with a negative eigenvalue", percent(errors["unphysical"])])
    print_table(["error", f"of {len(known)} structures with known {target.name}"], rows)


def _csv(target: PropertyTarget, found: Tensor, whole: Structures) -> str:
    places = ["".join(str(k + 1) for k in place) for place in product(*(range(size) for size in target.shape))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["structure", "name", *(f"{target.name}_{place}".rstrip("_") for place in places)])
    for row, values in enumerate(found.double().cpu().reshape(len(whole), -1).tolist()):
        writer.writerow([row, whole.names[row] if whole.names else "", *map(repr, values)])
    return text.getvalue()
