"""`polyad train`, `polyad predict`, `polyad compare`: networks that learn from structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyad.errors import InputError

if TYPE_CHECKING:
    from polyad.materials.structures import Structures

app = typer.Typer(add_completion=False)

_DATA_HELP = "Structures with energies or forces: .xyz, .extxyz, .csv with CIF strings, also .gz."
_MODEL_HELP = "Which network; 'list' prints them all."


@app.command()
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help=_DATA_HELP)],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Checkpoints and metrics; training resumes.")],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help=_MODEL_HELP)] = "tensornet",
    validation: Annotated[
        str, typer.Option("--validation", metavar="FILE|SHARE", help="Held-out data, or a share of DATA.")
    ] = "0.1",
    energy: Annotated[
        str, typer.Option("--energy", metavar="KEY", help="The file's name of the energies; 'none' leaves them out.")
    ] = "energy",
    forces: Annotated[
        str, typer.Option("--forces", metavar="KEY", help="The file's name of the forces; 'none' leaves them out.")
    ] = "forces",
    cutoff: Annotated[
        float, typer.Option("--cutoff", metavar="R", help="Reach of the neighbours, as positions.")
    ] = 5.0,
    options: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of the network, such as channels=64.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="M", help="Stop after this time.")] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", metavar="N", help="Stop after so many passes.")] = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Structures a step, all processes together.")] = 10,
    learning_rate: Annotated[float, typer.Option("--learning-rate", metavar="X")] = 2e-3,
    patience: Annotated[
        int | None, typer.Option("--patience", metavar="N", help="Stop after N validations without a gain.")
    ] = None,
    precision: Annotated[str, typer.Option("--precision", metavar="P", help="float32, float64, bfloat16.")] = "float32",
    device: Annotated[str, typer.Option("--device", metavar="D", help="cpu, cuda, cuda:1.")] = "cpu",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events as well.")] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of split, weights and order.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=2, help="Read N structures only.")] = None,
) -> None:
    """Train a potential on structures with energies, forces or both; what was interrupted goes on."""
    if model == "list":
        _print_models()
        return
    from polyad.cli.progress import progress_bar
    from polyad.materials.learning.potentials import hold_out, train_potential

    structures = _read(data, energy, forces, limit)
    if _is_number(validation):
        held, rest = hold_out(structures, float(validation), seed=seed)
    else:
        held, rest = _read(Path(validation), energy, forces, None), structures
    if minutes is None and epochs is None:
        raise InputError("polyad train: give --minutes or --epochs")
    with progress_bar(f"Training {model}", unit="steps" if minutes is None else "thousandths") as advance:
        _, result = train_potential(
            rest,
            model,
            folder=out,
            validation=held,
            cutoff=cutoff,
            options=_parsed(options),
            minutes=minutes,
            epochs=epochs,
            batch_size=batch,
            learning_rate=learning_rate,
            patience=patience,
            precision=precision,
            device=device,
            tensorboard=tensorboard,
            seed=seed,
            progress=advance,
        )
    last = min(result.history, key=lambda row: row["validation_loss"])
    _print_errors(f"{model}, best of {result.steps} steps ({result.seconds:.0f} s)", last, held)
    typer.echo(f"wrote {out / 'best.safetensors'} (stopped by {result.stopped}; metrics in {out / 'metrics.csv'})")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of `polyad train`, or its .safetensors.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Structures.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.extxyz", help="Structures with energies and forces.")],
    stress: Annotated[bool, typer.Option("--stress", help="For crystals: the stress as well.")] = False,
    precision: Annotated[str, typer.Option("--precision", metavar="P", help="float32 or float64.")] = "float64",
) -> None:
    """Energies, forces and stresses of structures by a trained potential; errors where the files hold values."""
    import torch

    from polyad.cli.progress import progress_bar
    from polyad.materials.learning.potentials import evaluate_potential, load_potential
    from polyad.materials.structures import Structures, read_structures
    from polyad.materials.structures.writers import write_extxyz

    if precision not in ("float32", "float64"):
        raise InputError(f"--precision: {precision!r}; allowed are float32 and float64")
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
        from polyad.cli.tables import print_table

        print_table(["error", "mean absolute", "root mean square", "largest"], rows, title=f"{len(whole)} structures")
    write_extxyz(out, whole, found)
    typer.echo(f"wrote {out}: energies{', forces' if 'forces' in found else ''}{', stresses' if stress else ''}")


@app.command()
def compare(
    data: Annotated[Path, typer.Argument(metavar="DATA", help=_DATA_HELP)],
    models: Annotated[str, typer.Option("--models", metavar="A,B,...", help="Names of networks, or 'all'.")],
    minutes: Annotated[float, typer.Option("--minutes", metavar="M", help="Of training for each network.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Models, table (JSON) and picture.")],
    test: Annotated[
        str, typer.Option("--test", metavar="FILE|SHARE", help="For the errors: data, or a share.")
    ] = "0.2",
    energy: Annotated[str, typer.Option("--energy", metavar="KEY", help="As in `polyad train`.")] = "energy",
    forces: Annotated[str, typer.Option("--forces", metavar="KEY", help="As in `polyad train`.")] = "forces",
    cutoff: Annotated[float, typer.Option("--cutoff", metavar="R")] = 5.0,
    options: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME.KEY=VALUE", help="Of one network.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", metavar="N")] = 10,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0)] = 0,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=4, help="Read N structures only.")] = None,
) -> None:
    """Train several networks on the same data for the same time, and print what each came to."""
    from polyad.cli.progress import progress_bar
    from polyad.cli.tables import number, print_table
    from polyad.files import atomic_path, atomic_write
    from polyad.materials.learning.comparing import compare_potentials, comparison_facts, plot_comparison
    from polyad.materials.learning.registry import POTENTIALS

    names = sorted(POTENTIALS) if models == "all" else [name for name in models.split(",") if name]
    structures = _read(data, energy, forces, limit)
    held: Any = float(test) if _is_number(test) else _read(Path(test), energy, forces, None)
    per_model: dict[str, dict[str, Any]] = {}
    for word in options or []:
        name, _, rest = word.partition(".")
        per_model.setdefault(name, {}).update(_parsed([rest]))
    strangers = [name for name in per_model if name not in names]
    if strangers:
        raise InputError(f"--option: {strangers[0]!r} is none of the models {', '.join(names)}; write NAME.KEY=VALUE")
    found = []
    for name in names:
        with progress_bar(f"Training {name}", unit="thousandths") as advance:
            found += compare_potentials(
                structures,
                [name],
                folder=out,
                minutes=minutes,
                test=held,
                cutoff=cutoff,
                options=per_model,
                batch_size=batch,
                seed=seed,
                progress=lambda _, bar=advance: bar,  # type: ignore[misc]
            )
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


def _read(path: Path, energy: str, forces: str, limit: int | None) -> Structures:
    """Structures with the targets under their common names."""
    from polyad.materials.structures import read_structures

    found = read_structures(path, limit=limit)
    targets = {} if energy == "none" or energy not in found.targets else {"energy": found.targets[energy]}
    node_targets = (
        {} if forces == "none" or forces not in found.node_targets else {"forces": found.node_targets[forces]}
    )
    for option, key, kept in (("--energy", energy, targets), ("--forces", forces, node_targets)):
        if key not in ("none", "energy", "forces") and not kept:
            there = ", ".join([*found.targets, *found.node_targets]) or "none"
            raise InputError(f"{option}: {path} has no {key!r} in every structure; there are {there}")
    return found.replace(targets=targets, node_targets=node_targets)


def _parsed(options: list[str] | None) -> dict[str, Any]:
    """KEY=VALUE words; values are JSON where they are, words otherwise."""
    found: dict[str, Any] = {}
    for word in options or []:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise InputError(f"--option: {word!r}; write KEY=VALUE, such as channels=64")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _print_models() -> None:
    from polyad.cli.tables import print_table
    from polyad.materials.learning.registry import POTENTIALS

    print_table(["model", "what it is"], [[x.name, x.summary] for x in POTENTIALS.values()], texts=2)


def _print_errors(title: str, row: dict[str, float], held: Structures) -> None:
    from polyad.cli.tables import number, print_table

    words = {"validation_energy_mae": "energy an atom", "validation_forces_mae": "force component"}
    rows = [[text, number(row[key])] for key, text in words.items() if key in row]
    print_table(["mean absolute error", f"of {len(held)} held-out structures"], rows, title=title)


def _differences(found: Any, whole: Structures) -> list[list[str]]:
    from polyad.cli.tables import number

    gaps = {}
    if "energy" in whole.targets:
        gaps["energy an atom"] = (found["energy"].double() - whole.targets["energy"]) / whole.node_start.diff()
    if "forces" in whole.node_targets and "forces" in found:
        gaps["force component"] = found["forces"].double() - whole.node_targets["forces"]
    return [
        [name, *(number(float(x)) for x in (gap.abs().mean(), gap.square().mean().sqrt(), gap.abs().max()))]
        for name, gap in gaps.items()
    ]
