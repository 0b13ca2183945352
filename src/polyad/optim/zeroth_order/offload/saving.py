"""A trainer's state as one safetensors file, written from where the tensors lie, whole or not at all.

Parameters are named as in the list of blocks, "3.attention.weight", so that the file serves as weights too. Tensors are
written one after the other, so that saving a model that is larger than memory takes none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_write

FORMAT = "polyad-zeroth-order"
VERSION = 1

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save_state(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON values.

    Args:
        path: of the file.
        tensors: contiguous, by name.
        facts: anything JSON can hold; floats come back to the bit.

    Raises:
        InputError: a dtype the format has no name for, or a path that cannot be written.
    """
    header: dict[str, Any] = {
        "__metadata__": {FORMAT: json.dumps({"format": FORMAT, "version": VERSION, "facts": dict(facts)})}
    }
    end = 0
    # widest first: readers want every tensor at a multiple of its item's size
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    for name, tensor in ordered:
        if tensor.dtype not in _NAMES:
            raise InputError(f"{name}: {tensor.dtype} cannot be saved; keep it out of the blocks")
        start, end = end, end + tensor.numel() * tensor.dtype.itemsize
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            if tensor.numel():
                flat = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
                file.write(flat.numpy().data)


def load_state(
    path: str | os.PathLike[str], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, mapped from the file rather than read, and the JSON values.

    Args:
        path: of a file that `save_state` wrote.
        expected: tensors of the names, shapes and dtypes that must be there; others may be too.

    Raises:
        FileFormatError: no such file, damaged, of another kind, or of a later version.
        InputError: the state of another model; the message names the first difference.
    """
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FileFormatError(name, "there is no such file; give one that ZO2Trainer.save wrote")
    try:
        with safe_open(name, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(FORMAT, "null"))
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise FileFormatError(name, f"is no readable safetensors file ({error}); copy it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or not isinstance(header.get("facts"), dict):
        raise FileFormatError(name, "is no state of a ZO2Trainer; give one that its save wrote")
    if header.get("version") != VERSION:
        raise FileFormatError(
            name, f"has version {header.get('version')!r}, this Polyad reads {VERSION}; update Polyad"
        )
    for key, tensor in expected.items():
        given = found.get(key)
        if given is None or given.shape != tensor.shape or given.dtype != tensor.dtype:
            has = "lacks it" if given is None else f"has shape {tuple(given.shape)} and {given.dtype}"
            raise InputError(
                f"{name}: is of another model: {key!r} is {tuple(tensor.shape)} and {tensor.dtype} here, the file "
                f"{has}; build blocks and trainer with the options they were trained with"
            )
    return found, header["facts"]
