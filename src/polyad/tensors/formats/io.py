"""Tensor formats on disk: arrays as safetensors, everything else as JSON in the same file's metadata.

    save_format("field.safetensors", found.value, modes=found.best.modes)
    load_format("field.safetensors").to_dense()

A file holds the format's arrays in the order of `arrays`, named 0000, 0001, ..., and under the metadata key "polyad" a
JSON object: the format's name, its structure (the tree, or the network's labels), the order of modes, and facts of
your own. Complex arrays are stored as pairs of reals. Nothing in a file is executed, and values come back bit by bit.

When not to use it: for the dense array itself; write that with NumPy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Num
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_write, read_bytes
from polyad.tensors.formats.base import TensorFormat
from polyad.tensors.formats.cp import CP
from polyad.tensors.formats.network import TensorNetwork
from polyad.tensors.formats.tensor_ring import TensorRing
from polyad.tensors.formats.tensor_train import TensorTrain
from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.formats.tucker import Tucker

KEY = "polyad"
"""Metadata key of the JSON object."""

VERSION = 1
"""Of the layout; a reader refuses what is newer."""


@final
@dataclass(frozen=True, eq=False)
class SavedFormat:
    """A tensor format that was read from a file.

    Args:
        value: the tensor.
        modes: position k of `value` holds mode modes[k] of the tensor that was compressed.
        facts: what was saved with it.
    """

    value: TensorFormat
    modes: tuple[int, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries, batch dimensions first, then the modes in the order of the original tensor."""
        batch = len(self.value.batch_shape)
        places = [batch + self.modes.index(mode) for mode in range(self.value.order)]
        return self.value.to_dense().permute([*range(batch), *places])


def save_format(
    path: str | os.PathLike[str],
    value: TensorFormat,
    *,
    modes: Sequence[int] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a tensor format to a safetensors file, whole or not at all.

    Args:
        path: the file, by custom with the suffix .safetensors; replaced where it exists.
        value: any format. Labels of a `TensorNetwork` must be numbers, texts, or tuples of these.
        modes: order of the modes, as in `Candidate.modes`; by default as they come.
        facts: anything that JSON can hold, such as the error or the name of the source.

    Raises:
        InputError: `modes` is no permutation, labels or facts do not fit into JSON, or the file cannot be written.
    """
    order = tuple(range(value.order)) if modes is None else tuple(int(mode) for mode in modes)
    if sorted(order) != list(range(value.order)):
        raise InputError(f"modes: {order} was given, a permutation of 0..{value.order - 1} is needed")
    header = {
        "version": VERSION,
        "format": type(value).__name__,
        "structure": _structure(value),
        "complex": value.dtype.is_complex,
        "modes": order,
        "facts": dict(facts or {}),
    }
    try:
        text = json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"facts: they cannot be written as JSON ({error}); give finite numbers, texts, lists"
        ) from None
    stored = {f"{place:04d}": _stored(array) for place, array in enumerate(value.arrays)}
    content = save(stored, metadata={KEY: text})
    with atomic_write(path) as handle:
        handle.write(content)


def load_format(path: str | os.PathLike[str]) -> SavedFormat:
    """Read what `save_format` wrote, onto the CPU.

    Raises:
        FileFormatError: the file cannot be read, was not written by `save_format`, is damaged, or holds NaN or Inf.
    """
    name, content = os.fspath(path), read_bytes(path)
    try:
        stored = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except (SafetensorError, ValueError, RecursionError) as error:
        raise FileFormatError(name, f"is not a whole safetensors file ({error}); write it again") from error
    if KEY not in metadata:
        raise FileFormatError(name, "holds no tensor format, only arrays; write it with save_format")
    try:
        header = json.loads(metadata[KEY])
        newer = int(header["version"]) > VERSION
        arrays = [stored[key] for key in sorted(stored, key=int)]
        arrays = [torch.view_as_complex(array) for array in arrays] if header["complex"] and not newer else arrays
        value = None if newer else _BUILDERS[header["format"]](arrays, header["structure"])
        modes, facts = tuple(header["modes"]), dict(header["facts"])
        finite = all(bool(torch.isfinite(array).all()) for array in arrays)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise FileFormatError(name, f"does not describe a tensor format ({reason}); write it again") from error
    if value is None:
        raise FileFormatError(name, f"has layout {header['version']}, this Polyad reads up to {VERSION}; update Polyad")
    if sorted(modes) != list(range(value.order)):
        raise FileFormatError(name, f"has modes {modes} for order {value.order}; a permutation is needed")
    if not finite:
        raise FileFormatError(name, "holds NaN or Inf; write it again from finite arrays")
    return SavedFormat(value, modes, facts)


def _stored(array: Tensor) -> Tensor:
    """A contiguous copy on the CPU that shares no memory, complex numbers as pairs."""
    array = array.detach().resolve_conj().resolve_neg().cpu()
    return (torch.view_as_real(array) if array.is_complex() else array).clone(memory_format=torch.contiguous_format)


def _structure(value: TensorFormat) -> Any:
    """What a format holds beside its arrays."""
    if isinstance(value, TreeTensorNetwork):
        return value.tree
    if isinstance(value, TensorNetwork):
        labels = [*(label for labels in value.indices for label in labels), *value.modes]
        for label in labels:
            if not _is_plain(label):
                raise InputError(f"indices: label {label!r} cannot be saved; take numbers, texts, or tuples of these")
        return {"indices": value.indices, "output": value.modes}
    if type(value).__name__ not in _BUILDERS:
        raise InputError(f"value: {type(value).__name__} cannot be saved; allowed are {', '.join(_BUILDERS)}")
    return None


def _is_plain(label: Hashable) -> bool:
    if isinstance(label, tuple):
        return all(map(_is_plain, label))
    return isinstance(label, (int, str)) and not isinstance(label, bool)


def _nested(item: Any) -> Any:
    """Lists as tuples, at every depth."""
    return tuple(map(_nested, item)) if isinstance(item, list) else item


def _tree(arrays: Sequence[Tensor], structure: Any) -> TreeTensorNetwork:
    tree = _nested(structure)
    order = _leaves(tree)
    return TreeTensorNetwork(tree, tuple(arrays[:order]), tuple(arrays[order:]))


def _leaves(tree: Any) -> int:
    return sum(map(_leaves, tree)) if isinstance(tree, tuple) else 1


def _network(arrays: Sequence[Tensor], structure: Any) -> TensorNetwork:
    return TensorNetwork(tuple(arrays), _nested(structure["indices"]), _nested(structure["output"]))


_BUILDERS: dict[str, Callable[[Sequence[Tensor], Any], TensorFormat]] = {
    "CP": lambda arrays, _: CP(arrays[0], tuple(arrays[1:])),
    "Tucker": lambda arrays, _: Tucker(arrays[0], tuple(arrays[1:])),
    "TensorTrain": lambda arrays, _: TensorTrain(tuple(arrays)),
    "TensorRing": lambda arrays, _: TensorRing(tuple(arrays)),
    "TreeTensorNetwork": _tree,
    "TensorNetwork": _network,
}
