"""`polyad lattice VERB`: strut lattices from files to tensors, data sets, designs, pictures and printable solids."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polyad.cli.lattice_inputs import LATTICES_HELP, OBJECTIVES
from polyad.cli.lattice_serve import serve

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Strut lattices: solve, generate, design, look at and export them."
)

Lattices = Annotated[list[str], typer.Argument(metavar="FILES...", help=LATTICES_HELP)]
Densities = Annotated[
    list[str] | None,
    typer.Option(
        "--density", metavar="RHO", help="Relative densities of nets that state none, with commas or repeated."
    ),
]
Young = Annotated[float, typer.Option("--young", metavar="E", help="Young's modulus of the solid.")]
Poisson = Annotated[float, typer.Option("--poisson", metavar="NU", help="Poisson's ratio of the solid.")]
Shear = Annotated[bool, typer.Option("--shear/--no-shear", help="Timoshenko or Euler-Bernoulli beams.")]
Solid = Annotated[
    str | None,
    typer.Option("--material", metavar="NAME", help="A printable material; sets --young (GPa) and --poisson."),
]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Processes, or threads of the solver.")]
Seed = Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Seed; the same one gives the same result.")]
Cutoff = Annotated[
    float | None, typer.Option("--cutoff", metavar="D", help="Bond length for atomic structures, in the file's unit.")
]
Counts = Annotated[tuple[int, int, int], typer.Option("--counts", metavar="NX NY NZ", help="Cells along each vector.")]
CellSize = Annotated[float, typer.Option("--cell-mm", metavar="MM", help="Length of the first lattice vector.")]


@app.command()
def solve(
    files: Lattices,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.parquet", help="Write lattices and tensors.")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Compare with the tensors that the files hold.")] = False,
    density: Densities = None,
    young: Young = 1.0,
    poisson: Poisson = 0.3,
    shear: Shear = True,
    material: Solid = None,
    cutoff: Cutoff = None,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=0, help="Threads [default: all].")] = 0,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=0, help="Rows of the table that are printed.")] = 20,
    solid: Annotated[
        bool, typer.Option("--solid", help="Beside the beams the real body, joints and all, cut into voxels.")
    ] = False,
    resolution: Annotated[
        int, typer.Option("--resolution", metavar="N", min=4, help="Voxels along the longest lattice vector.")
    ] = 64,
    corrected: Annotated[
        Path | None, typer.Option("--corrected", metavar="MODEL", help="Towards the real body, by a trained model.")
    ] = None,
) -> None:
    """Stiffness tensors of all lattices in some files."""
    from polyad.cli.lattice_inputs import numbers
    from polyad.cli.lattice_solve import solve_files

    solve_files(
        files,
        out=out,
        compare=compare,
        densities=numbers(density, "--density", [0.01]),
        solid=_solid(material, young, poisson),
        shear=shear,
        cutoff=cutoff,
        threads=workers,
        rows=rows,
        resolution=resolution if solid else None,
        corrected=corrected,
    )


@app.command()
def generate(
    count: Annotated[int, typer.Option("--count", metavar="N", help="Number of lattices.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the shards; continued where it exists.")],
    seed: Seed = 0,
    workers: Workers = 1,
    dask: Annotated[str | None, typer.Option("--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster.")] = None,
    kind: Annotated[str, typer.Option("--kind", help="all, named, nets, foams, or module:function.")] = "all",
    density: Densities = None,
    level: Annotated[
        list[str] | None,
        typer.Option("--level", metavar="P", help="Displacements of the nodes, in mean strut lengths."),
    ] = None,
    young: Young = 1.0,
    poisson: Poisson = 0.3,
    shear: Shear = True,
    shard_size: Annotated[int, typer.Option("--shard-size", metavar="N", help="Lattices a file.")] = 2000,
) -> None:
    """Make a data set of lattices with their tensors, of any size; run again to continue an interrupted one."""
    from contextlib import ExitStack

    from polyad.cli.lattice_inputs import numbers
    from polyad.cli.progress import progress_bar
    from polyad.executors import dask_executor
    from polyad.materials.lattice.dataset import Recipe
    from polyad.materials.lattice.dataset import generate as generate_dataset
    from polyad.materials.lattice.dataset.recipe import DENSITIES, LEVELS

    recipe = Recipe(
        count=count,
        seed=seed,
        generator=kind,
        densities=numbers(density, "--density", DENSITIES),
        levels=numbers(level, "--level", LEVELS),
        young_modulus=young,
        poisson_ratio=poisson,
        shear=shear,
        shard_size=shard_size,
    )
    with ExitStack() as stack:
        executor = None
        if dask is not None:
            executor, workers = stack.enter_context(dask_executor(dask))
        advance = stack.enter_context(progress_bar("Generating", unit="lattices"))
        shards = generate_dataset(out, recipe, workers=workers, executor=executor, progress=advance)
    typer.echo(f"{recipe.count:,} lattices in {len(shards):,} files in {out}")


@app.command()
def split(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A Parquet file or a folder of shards.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for train.parquet and so on.")],
    train: Annotated[float, typer.Option("--train", help="Share of the training nets.")] = 0.8,
    validation: Annotated[float, typer.Option("--validation", help="Share of the validation nets.")] = 0.1,
    test: Annotated[float, typer.Option("--test", help="Share of the test nets.")] = 0.1,
    seed: Seed = 0,
) -> None:
    """Split a data set by net, so that no relative of a test net is trained on."""
    from polyad.cli.progress import progress_bar
    from polyad.materials.lattice.dataset import split_dataset

    fractions = {"train": train, "validation": validation, "test": test}
    with progress_bar("Splitting", unit="lattices") as advance:
        counts = split_dataset(data, out, fractions=fractions, seed=seed, progress=advance)
    typer.echo(", ".join(f"{name}: {rows:,}" for name, rows in counts.items()) + f" lattices in {out}")


@app.command()
def design(
    start: Annotated[
        str, typer.Argument(metavar="[START]", help="The first lattice: a file or a cell's name.")
    ] = "bcc_sc",
    objective: Annotated[
        list[str] | None, typer.Option("--objective", metavar="TERM", help=f"Repeat, or join by ' + ': {OBJECTIVES}.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="FILE", help="Tensor to match: 6x6 numbers, or a lattice.")
    ] = None,
    density: Annotated[float | None, typer.Option("--density", metavar="RHO", help="[default: that of START]")] = None,
    vary: Annotated[str, typer.Option("--vary", help="Any of positions,radius,cell.")] = "positions,radius",
    symmetry: Annotated[bool, typer.Option("--symmetry/--no-symmetry", help="Keep the space group.")] = False,
    minimum_diameter: Annotated[
        float | None, typer.Option("--minimum-diameter", metavar="MM", help="Thinnest strut that prints.")
    ] = None,
    overhang: Annotated[
        float | None,
        typer.Option("--overhang", metavar="DEG", help="Largest angle between a strut and the build direction z."),
    ] = None,
    clearance: Annotated[
        float | None, typer.Option("--clearance", metavar="MM", help="Least gap of struts that do not meet.")
    ] = None,
    cell_mm: CellSize = 10.0,
    counts: Counts = (1, 1, 1),
    starts: Annotated[int, typer.Option("--starts", metavar="N", min=1, help="Starts; all but one perturbed.")] = 1,
    seed: Seed = 0,
    workers: Workers = 1,
    iterations: Annotated[int, typer.Option("--iterations", metavar="N", min=1, help="Steps of a start.")] = 200,
    poisson: Poisson = 0.3,
    shear: Shear = True,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.json", help="The design.")] = Path("design.json"),
    stl: Annotated[Path | None, typer.Option("--stl", metavar="FILE.stl", help="Watertight solid.")] = None,
    threemf: Annotated[Path | None, typer.Option("--3mf", metavar="FILE.3mf", help="The same with units.")] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Page with the path.")] = None,
    surrogate: Annotated[
        Path | None,
        typer.Option("--surrogate", metavar="MODEL", help="Through a model of `polyad train`, then solved."),
    ] = None,
) -> None:
    """Change a lattice until its stiffness is what you ask for, at fixed density and within what prints."""
    from polyad.cli.lattice_design import Limits, Outputs, run_design

    frame = {"poisson_ratio": poisson, "shear": shear}
    if surrogate is not None:
        from polyad.cli.lattice_surrogate import run_surrogate_design

        exact_only = {
            "--vary": vary != "positions,radius",
            "--symmetry": symmetry,
            "--minimum-diameter": minimum_diameter is not None,
            "--overhang": overhang is not None,
            "--clearance": clearance is not None,
            "--starts": starts > 1,
            "--stl": stl is not None,
            "--3mf": threemf is not None,
            "--report": report is not None,
        }
        run_surrogate_design(
            start,
            objective or [],
            target,
            model=surrogate,
            density=density,
            steps=iterations,
            frame=frame,
            out=out,
            given=[option for option, was_given in exact_only.items() if was_given],
        )
        return
    run_design(
        start,
        objective or [],
        target,
        density=density,
        vary=vary,
        symmetry=symmetry,
        limits=Limits(minimum_diameter, overhang, clearance, cell_mm),
        search={"starts": starts, "seed": seed, "iterations": iterations},
        workers=workers,
        frame=frame,
        outputs=Outputs(out, stl, threemf, report, counts),
    )


@app.command()
def report(
    files: Lattices,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The page.")] = Path("report.html"),
    density: Densities = None,
    material: Solid = None,
    young: Young = 1.0,
    poisson: Poisson = 0.3,
    cutoff: Cutoff = None,
    title: Annotated[str, typer.Option("--title", help="Of the page.")] = "Lattices",
) -> None:
    """One self-contained page about lattices and designs."""
    from polyad.cli.lattice_inputs import numbers
    from polyad.cli.lattice_report import report_files

    densities = numbers(density, "--density", [0.01])
    report_files(files, out, densities, _solid(material, young, poisson), title=title, cutoff=cutoff)


@app.command()
def show(
    lattice: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A cell's name, or a file (its first lattice).")],
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE.png", help="Draw a picture.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE.html", help="Write the page.")] = None,
    density: Annotated[float | None, typer.Option("--density", metavar="RHO", help="Relative density.")] = None,
    cells: Annotated[int | None, typer.Option("--cells", metavar="N", help="Cells along each direction.")] = None,
) -> None:
    """Draw a lattice; without --png or --html its page opens in the browser."""
    from polyad.cli.lattice_inputs import one_lattice
    from polyad.materials.lattice.view import save_png
    from polyad.materials.lattice.view import show as write_page

    record = one_lattice(lattice, density=density)
    if png is not None:
        save_png(record.lattice, png, cells=cells, title=record.name)
        typer.echo(f"wrote {png}")
    if html is not None or png is None:
        opens = html is None
        path = write_page(record.lattice, html, cells=cells, title=record.name, open_browser=opens)
        typer.echo(f"wrote {path}")


@app.command()
def export(
    lattice: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A cell's name, or a file (its first lattice).")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help=".stl .obj .ply .3mf .vtu .vtk, or .inp.")],
    counts: Counts = (1, 1, 1),
    cell_mm: CellSize = 10.0,
    density: Annotated[float | None, typer.Option("--density", metavar="RHO", help="Relative density.")] = None,
    facets: Annotated[int, typer.Option("--facets", metavar="N", min=3, help="Sides of a strut.")] = 32,
    trim: Annotated[bool, typer.Option("--trim", help="Cut struts at the faces of the block.")] = False,
    plates: Annotated[float, typer.Option("--plates-mm", metavar="MM", min=0.0, help="Thickness of end plates.")] = 0.0,
    beams: Annotated[bool, typer.Option("--beams", help="A 3MF beam lattice in place of a mesh.")] = False,
) -> None:
    """Write a block of a lattice for printers, viewers and finite-element programs."""
    from dataclasses import replace

    from polyad.cli.lattice_inputs import one_lattice
    from polyad.cli.progress import progress_bar
    from polyad.materials.lattice import save
    from polyad.materials.lattice.solids.block import in_millimetres
    from polyad.materials.lattice.solids.solid import export as write_solid

    record = one_lattice(lattice, density=density)
    if out.suffix.lower() == ".inp":
        save(replace(record, lattice=in_millimetres(record.lattice, cell_mm).tile(counts)), out)
    else:
        with progress_bar("Joining struts", unit="solids") as advance:
            write_solid(
                record.lattice,
                out,
                counts=counts,
                cell_size_mm=cell_mm,
                boundary="trim" if trim else "keep",
                facets=facets,
                plates_mm=plates,
                beams=beams,
                title=record.name if out.suffix.lower() == ".3mf" else None,
                progress=advance,
            )
    typer.echo(f"wrote {out}")


@app.command()
def cells() -> None:
    """List the named cells."""
    from polyad.cli.tables import print_table
    from polyad.materials.lattice import cell_info, list_cells, named_cell

    rows = []
    for name in list_cells():
        info, lattice = cell_info(name), named_cell(name, density=1e-6)
        options = ", ".join(f"{key}={value:g}" for key, value in info.parameters.items())
        rows.append([name, info.description, str(lattice.num_nodes), str(lattice.num_edges), options])
    print_table(["cell", "description", "nodes", "struts", "parameters"], rows, texts=2)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="A file, a folder of shards, or name:CELL.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A name that ends in .lat, .json, .inp or .parquet.")],
    density: Densities = None,
    cutoff: Cutoff = None,
) -> None:
    """Write the lattices of a file in another format."""
    from polyad.cli.lattice_inputs import numbers
    from polyad.cli.lattice_solve import readable_records
    from polyad.materials.lattice import save

    records = list(readable_records([source], numbers(density, "--density", [0.01]), cutoff))
    save(records, out)
    typer.echo(f"wrote {len(records):,} lattices to {out}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")] = Path("polyad-demo"),
) -> None:
    """The main job from end to end on what is built in: tensors, proof, a design, a report, files to print."""
    from polyad.cli.lattice_demo import show_demo

    show_demo(out)


app.command()(serve)


def _solid(material: str | None, young: float, poisson: float) -> tuple[float, float, str]:
    """(Young's modulus, Poisson's ratio, unit)."""
    if material is None:
        return young, poisson, ""
    from polyad.materials.lattice.solids.printing import material as find_material

    found = find_material(material)
    return found.young_modulus_gpa, found.poisson_ratio, "GPa"
