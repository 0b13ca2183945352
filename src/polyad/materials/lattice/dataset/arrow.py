"""Between `LatticeTable` and Arrow: buffers are concatenated arrays with offsets, so no row costs a Python call.

What comes from a file is checked here as a whole, with array operations, before anything indexes with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import MAXIMUM_SHIFT
from polyad.materials.lattice.dataset.schema import REQUIRED, SCHEMA
from polyad.materials.lattice.dataset.table import LatticeTable


def to_arrow(table: LatticeTable, *, schema: pa.Schema = SCHEMA) -> pa.Table:
    """The rows in the layout of `schema`; numbers are shared, not copied, where their type allows."""
    lattices = table.lattices
    edge_count = lattices.edge_start.diff()
    edge_index = lattices.edge_index - torch.repeat_interleave(lattices.node_start[:-1], edge_count)
    unknown = ~_numpy(table.known)
    columns: dict[str, pa.Array] = {
        "name": _strings(table.name),
        "base_name": _strings(table.base_name),
        "kind": _strings(table.kind),
        "density": pa.array(_numpy(table.density)),
        "cell": _fixed(lattices.cell.reshape(-1), 9),
        "positions": _ragged(lattices.node_start, _fixed(lattices.positions.reshape(-1), 3)),
        "edge_index": _ragged(lattices.edge_start, _fixed(edge_index.T.int().reshape(-1), 2)),
        "edge_shift": _ragged(lattices.edge_start, _fixed(lattices.edge_shift.int().reshape(-1), 3)),
        "radius": _ragged(lattices.edge_start, pa.array(_numpy(lattices.radius))),
        "stiffness": pa.FixedSizeListArray.from_arrays(
            pa.array(_numpy(table.stiffness.reshape(-1))), 36, mask=pa.array(unknown)
        ),
        "mechanisms": pa.array(_numpy(table.mechanisms.int()), mask=_numpy(table.mechanisms < 0)),
        "level": pa.array(_numpy(table.level), mask=_numpy(table.level.isnan())),
        "seed": pa.array(_numpy(table.seed), mask=_numpy(table.seed < 0)),
        "source": _strings(table.source),
        "metadata": _strings(table.metadata),
        "notes": pa.array([list(notes) for notes in table.notes], type=pa.list_(pa.string())),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def from_arrow(rows: pa.Table) -> LatticeTable:
    """The table of some rows; columns beyond the required ones may be missing.

    Raises:
        InputError: a required column is missing, a column has another type, or numbers make no lattice.
    """
    missing = [name for name in REQUIRED if name not in rows.column_names]
    if missing:
        raise InputError(f"column {missing[0]!r} is missing; a table of lattices has {', '.join(REQUIRED)}")
    if not len(rows):
        raise InputError("the table has no rows")
    column = {name: _typed(rows, name) for name in SCHEMA.names if name in rows.column_names}
    name = column["name"].to_pylist()
    cell = _numbers(column["cell"], 9).reshape(-1, 3, 3)
    node_count, positions = _lists(column["positions"], 3)
    edge_count, edge_index = _lists(column["edge_index"], 2)
    shift_count, edge_shift = _lists(column["edge_shift"], 3)
    radius_count, radius = _lists(column["radius"], 1)
    _require(edge_count == shift_count, name, "edge_shift and edge_index differ in length")
    _require(edge_count == radius_count, name, "radius and edge_index differ in length")
    _require((node_count > 0) & (edge_count > 0), name, "a lattice needs at least one node and one strut")
    edge_row, node_row = (np.repeat(np.arange(len(name)), count) for count in (edge_count, node_count))
    in_range = np.all((edge_index >= 0) & (edge_index < node_count[edge_row][:, None]), axis=1)
    _require(in_range, name, "edge_index names a node that does not exist", owner=edge_row)
    _require((np.abs(edge_shift) <= MAXIMUM_SHIFT).all(axis=1), name, "edge_shift is too large", owner=edge_row)
    finite = np.isfinite(radius[:, 0]) & (radius[:, 0] > 0)
    _require(finite, name, "radius must be positive and finite", owner=edge_row)
    _require(np.isfinite(positions).all(axis=1), name, "positions hold NaN or infinity", owner=node_row)
    size = np.linalg.norm(cell, axis=2)
    spans = np.isfinite(size).all(axis=1) & (np.abs(np.linalg.det(cell)) > 1e-9 * size.prod(axis=1))
    _require(spans, name, "cell is singular or not finite")
    density = _numbers(column["density"])
    _require(np.isfinite(density) & (density > 0), name, "density must be positive and finite")
    node_start, edge_start = (np.concatenate([[0], np.cumsum(count)]) for count in (node_count, edge_count))
    lattices = LatticeBatch(
        cell=_tensor(cell),
        positions=_tensor(positions),
        edge_index=_tensor((edge_index.astype(np.int64) + node_start[edge_row][:, None]).T),
        edge_shift=_tensor(edge_shift.astype(np.int64)),
        radius=_tensor(radius[:, 0]),
        node_start=_tensor(node_start),
        edge_start=_tensor(edge_start),
    )
    return LatticeTable(lattices=lattices, name=name, density=_tensor(density), **_optional(column, name))


def _optional(column: dict[str, pa.Array], name: list[str]) -> dict[str, Any]:
    rows = len(name)
    stiffness, known = np.full((rows, 36), np.nan), np.zeros(rows, dtype=bool)
    if "stiffness" in column:
        known = np.asarray(column["stiffness"].is_valid())
        stiffness[known] = _numbers(column["stiffness"].drop_null(), 36)
        matrix = stiffness.reshape(-1, 6, 6)[known]
        finite = np.isfinite(matrix).all(axis=(1, 2))
        _require(finite, name, "stiffness holds NaN or infinity", owner=np.flatnonzero(known))
        scale = np.abs(matrix).max(axis=(1, 2), initial=0.0)[:, None, None]
        symmetric = (np.abs(matrix - matrix.transpose(0, 2, 1)) <= 1e-6 * scale).all(axis=(1, 2))
        _require(symmetric, name, "stiffness is not symmetric", owner=np.flatnonzero(known))

    def texts(key: str, default: list[str]) -> list[str]:
        return column[key].to_pylist() if key in column else default

    def filled(key: str, default: Any) -> Tensor:
        if key not in column:
            return _tensor(np.full(rows, default))
        return _tensor(_numbers(pc.fill_null(column[key], default)))

    return {
        "base_name": texts("base_name", name),
        "kind": texts("kind", [""] * rows),
        "stiffness": _tensor(stiffness.reshape(-1, 6, 6)),
        "known": _tensor(known),
        "mechanisms": filled("mechanisms", -1).long(),
        "level": filled("level", float("nan")).double(),
        "seed": filled("seed", -1).long(),
        "source": texts("source", [""] * rows),
        "metadata": texts("metadata", ["{}"] * rows),
        "notes": column["notes"].to_pylist() if "notes" in column else [[]] * rows,
    }


def _typed(rows: pa.Table, name: str) -> pa.Array:
    """One column in the schema's type as one array, without null entries where the schema allows none."""
    field = SCHEMA.field(name)
    column = rows.column(name)
    try:
        array = column.cast(field.type).combine_chunks() if column.type != field.type else column.combine_chunks()
    except (pa.ArrowException, NotImplementedError) as error:
        raise InputError(f"column {name!r} is {column.type}; expected {field.type}") from error
    try:
        array.validate(full=True)  # offsets within bounds, texts in UTF-8
    except pa.ArrowException as error:
        raise InputError(f"column {name!r} is damaged ({str(error).splitlines()[0][:100]})") from error
    if array.null_count and not field.nullable:
        raise InputError(f"column {name!r} holds null entries; every lattice needs one")
    return array


def _numbers(array: pa.Array, width: int = 1) -> np.ndarray:
    """Entries of a column of numbers, or of lists of `width` numbers, as (rows,) or (rows, width)."""
    values = array.flatten() if pa.types.is_fixed_size_list(array.type) else array
    if values.null_count:
        raise InputError("a list of numbers holds null entries; every number must be given")
    numbers = values.to_numpy(zero_copy_only=False)
    return numbers if width == 1 else numbers.reshape(-1, width)


def _lists(array: pa.Array, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(entries of every row (rows,), entries (total, width)) of a column of lists."""
    count = pc.list_value_length(array).to_numpy(zero_copy_only=False).astype(np.int64)
    return count, _numbers(array.flatten(), width).reshape(-1, width)


def _require(good: npt.NDArray[np.bool_], name: list[str], complaint: str, *, owner: np.ndarray | None = None) -> None:
    """Complain about the first entry that is not good; `owner` says which row an entry belongs to."""
    if not good.all():
        entry = int(np.flatnonzero(~good)[0])
        row = entry if owner is None else int(owner[entry])
        raise InputError(f"row {row} ({name[row]}): {complaint}")


def _strings(values: Any) -> pa.Array:
    return pa.array(list(values), type=pa.string())


def _fixed(values: Tensor, width: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(_numpy(values)), width)


def _ragged(start: Tensor, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(_numpy(start.int())), values)


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array) if not array.flags.writeable else array)
