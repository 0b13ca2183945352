"""`polyad lattice design --surrogate MODEL`: the same wish through a trained network, and the solver's verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import typer

from polyad.cli.lattice_inputs import one_lattice, read_objective, read_target
from polyad.cli.progress import progress_bar
from polyad.cli.tables import number, print_table
from polyad.errors import InputError


def run_surrogate_design(
    start: str,
    objective: Sequence[str],
    target: str | None,
    *,
    model: Path,
    density: float | None,
    steps: int,
    frame: dict[str, Any],
    out: Path,
    given: Sequence[str],
) -> None:
    """Design through the network, print what it promised and what the solver finds, write the lattice.

    `given` names options that were set and that only the exact design knows.

    Raises:
        InputError: such an option, or a model of something else.
    """
    from polyad.materials.lattice import LatticeRecord, save
    from polyad.materials.learning.properties import load_property
    from polyad.materials.properties.surrogate import design_by_surrogate

    if given:
        raise InputError(
            f"{given[0]}: does not go with --surrogate, which moves nodes and radii; leave one of them out"
        )
    if out.suffix.lower() != ".json":
        raise InputError(f"--out: {out} must end in .json")
    record = one_lattice(start, density=density)
    wish = read_objective(objective, None if target is None else read_target(target))
    with progress_bar("Designing", unit="steps") as advance:
        result = design_by_surrogate(
            record.lattice, load_property(model), wish, steps=steps, frame=frame, progress=advance
        )
    rows = []
    columns = [wish.quantities(x) for x in (*result.predicted.double(), *result.exact)]
    for name in columns[0]:
        rows.append([name, *(number(column[name], 6) for column in (columns[0], columns[2], columns[1], columns[3]))])
    print_table(["quantity (E_s = 1)", "start, network", "start, solver", "reached, network", "reached, solver"], rows)
    gap = torch.linalg.matrix_norm(result.predicted[1].double() - result.exact[1])
    typer.echo(
        f"the network's tensor is off the solver's by {float(gap / torch.linalg.matrix_norm(result.exact[1])):.1%}; "
        f"{len(result.objective)} steps at density {float(result.lattice.relative_density):.6g}"
    )
    save(
        LatticeRecord(
            name=f"{record.name}, by surrogate",
            lattice=result.lattice,
            density=float(result.lattice.relative_density),
            stiffness=result.exact[1],
            base_name=record.base_name,
            source="polyad lattice design --surrogate",
            metadata={"model": str(model)},
        ),
        out,
    )
    typer.echo(f"wrote {out}: the lattice with the solver's tensor")
