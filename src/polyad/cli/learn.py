"""`polyad train`, `polyad predict`, `polyad compare`: networks that learn from structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polyad.cli.learn_inputs import is_property, parse_options
from polyad.errors import InputError

app = typer.Typer(add_completion=False)

_DATA_HELP = (
    "Structures: .xyz, .extxyz, .csv with CIF strings, also .gz; of lattices .parquet, a folder of shards, .lat."
)
_TARGET_HELP = "energy, forces (default: both, where they are), elasticity, dielectric, ..., or a column of numbers."
_MODEL_HELP = "Which network; 'list' prints them all."


@app.command()
def train(
    data: Annotated[Path | None, typer.Argument(metavar="DATA", help=_DATA_HELP)] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Checkpoints and metrics; training resumes.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help=_MODEL_HELP)] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="NAME", help=_TARGET_HELP)] = None,
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
        float | None, typer.Option("--cutoff", metavar="R", help="Reach of the neighbours, as positions; default 5.")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of the network, such as channels=64.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="M", help="Stop after this time.")] = None,
    clock: Annotated[
        str, typer.Option("--clock", metavar="C", help="Of --minutes: wall, or process for processor time.")
    ] = "wall",
    epochs: Annotated[float | None, typer.Option("--epochs", metavar="N", help="Stop after so many passes.")] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", help="Structures a step; default 10, for properties 32.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", metavar="X", help="Default: the network's own."),
    ] = None,
    patience: Annotated[
        int | None, typer.Option("--patience", metavar="N", help="Stop after N validations without a gain.")
    ] = None,
    precision: Annotated[str, typer.Option("--precision", metavar="P", help="float32, float64, bfloat16.")] = "float32",
    device: Annotated[str, typer.Option("--device", metavar="D", help="cpu, cuda, cuda:1.")] = "cpu",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events as well.")] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of split, weights and order.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=2, help="Read N structures only.")] = None,
) -> None:
    """Train a network on energies and forces, or on a property of structures; what was interrupted goes on."""
    if model == "list":
        _print_models()
        return
    if data is None or out is None:
        raise InputError("polyad train: give DATA and --out FOLDER ('--model list' alone prints the networks)")
    if minutes is None and epochs is None:
        raise InputError("polyad train: give --minutes or --epochs")
    shared: dict[str, Any] = {
        "out": out,
        "validation": validation,
        "limit": limit,
        "options": parse_options(options),
        "minutes": minutes,
        "clock": clock,
        "epochs": epochs,
        "patience": patience,
        "precision": precision,
        "device": device,
        "tensorboard": tensorboard,
        "seed": seed,
    }
    if learning_rate is not None:
        shared["learning_rate"] = learning_rate
    if target is not None and is_property(target):
        from polyad.cli.learn_properties import train_on_property

        train_on_property(
            data,
            model or "lattice",
            target=target,
            cutoff=cutoff,
            batch_size=batch or 32,
            **shared,
        )
        return
    from polyad.cli.learn_potentials import train_on_atoms

    train_on_atoms(
        data,
        model or "tensornet",
        keys=_keys(target, energy, forces),
        cutoff=5.0 if cutoff is None else cutoff,
        batch_size=batch or 10,
        **shared,
    )


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of `polyad train`, or its .safetensors.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Structures.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Energies and forces as .extxyz; a property as .csv.")
    ],
    stress: Annotated[bool, typer.Option("--stress", help="For crystals: the stress as well.")] = False,
    precision: Annotated[str, typer.Option("--precision", metavar="P", help="float32 or float64.")] = "float64",
) -> None:
    """Energies and forces, or a property, by a trained model; errors where the files hold values."""
    if precision not in ("float32", "float64"):
        raise InputError(f"--precision: {precision!r}; allowed are float32 and float64")
    from polyad.materials.learning.properties import KIND, kind_of

    if kind_of(model) == KIND:
        from polyad.cli.learn_properties import predict_property

        if stress:
            raise InputError("--stress: is of potentials, and this model gives a property; leave it out")
        predict_property(model, files, out, precision=precision)
        return
    from polyad.cli.learn_potentials import predict_atoms

    predict_atoms(model, files, out, stress=stress, precision=precision)


@app.command()
def compare(
    data: Annotated[Path, typer.Argument(metavar="DATA", help=_DATA_HELP)],
    models: Annotated[str, typer.Option("--models", metavar="A,B,...", help="Names of networks, or 'all'.")],
    minutes: Annotated[float, typer.Option("--minutes", metavar="M", help="Of training for each network.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Models, table (JSON) and picture.")],
    clock: Annotated[str, typer.Option("--clock", metavar="C", help="As in `polyad train`.")] = "wall",
    target: Annotated[str | None, typer.Option("--target", metavar="NAME", help=_TARGET_HELP)] = None,
    test: Annotated[
        str, typer.Option("--test", metavar="FILE|SHARE", help="For the errors: data, or a share.")
    ] = "0.2",
    energy: Annotated[str, typer.Option("--energy", metavar="KEY", help="As in `polyad train`.")] = "energy",
    forces: Annotated[str, typer.Option("--forces", metavar="KEY", help="As in `polyad train`.")] = "forces",
    cutoff: Annotated[float | None, typer.Option("--cutoff", metavar="R", help="As in `polyad train`.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME.KEY=VALUE", help="Of one network.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", metavar="N", help="As in `polyad train`.")] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0)] = 0,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=4, help="Read N structures only.")] = None,
) -> None:
    """Train several networks on the same data for the same time, and print what each came to."""
    shared: dict[str, Any] = {
        "out": out,
        "test": test,
        "limit": limit,
        "minutes": minutes,
        "clock": clock,
        "options": options,
        "seed": seed,
    }
    if target is not None and is_property(target):
        from polyad.cli.learn_properties import compare_on_property

        compare_on_property(data, models, target=target, cutoff=cutoff, batch_size=batch or 32, **shared)
        return
    from polyad.cli.learn_potentials import compare_on_atoms

    keys, reach = _keys(target, energy, forces), 5.0 if cutoff is None else cutoff
    compare_on_atoms(data, models, keys=keys, cutoff=reach, batch_size=batch or 10, **shared)


def _keys(target: str | None, energy: str, forces: str) -> tuple[str, str]:
    """Names of energies and forces in the file; a target of one leaves the other out."""
    return ("none" if target == "forces" else energy), ("none" if target == "energy" else forces)


def _print_models() -> None:
    from polyad.cli.tables import print_table
    from polyad.materials.learning.registry import POTENTIALS, PROPERTIES

    for title, table in (("energies and forces", POTENTIALS), ("properties of structures", PROPERTIES)):
        print_table(["model", "what it is"], [[x.name, x.summary] for x in table.values()], texts=2, title=title)
