"""Mutated copies of every format: each is read or refused in one line, quickly, and nothing else ever escapes."""

from __future__ import annotations

import io
import random
import zipfile

import pytest

from polyad.errors import FileFormatError, InputError, MissingDependencyError
from polyad.materials.lattice.io import load, scan
from polyad.materials.lattice.io.abaqus_writer import write_inp
from polyad.materials.lattice.io.json_format import write_json
from polyad.materials.lattice.io.lat import write_lat
from polyad.materials.lattice.nets.named import named_cell
from polyad.materials.lattice.records import LatticeRecord

TOKENS = [
    *(b"nan", b"inf", b"-1", b"0", b"1e400", b"1e-400", b"99999999999999999999", b"0x10", b"1/0", b"\xff\xfe", b"\x00"),
    *(b"\n", b"\n\n", b" ", b",", b"*", b"{", b"[", b'"', b"#", b":", b"-", b"null", b"true", b"\xe2\x80\xa8"),
    *(b"END", b"CRYSTAL", b"EDGE", b"NODE", b"GROUP P1", b"*Node", b"*Element, type=B31", b"lattice_transition"),
]


def samples() -> dict[str, bytes]:
    """One small file of every format."""
    records = [LatticeRecord("cell", named_cell("bcc_sc", density=d), d) for d in (0.01, 0.02)]
    shifted = named_cell("bcc_sc").translate(named_cell("bcc_sc").cell.sum(0) * 0.2)
    cgd = (
        b'CRYSTAL\nNAME "srs"\nGROUP I4132\nCELL 2.82843 2.82843 2.82843 90 90 90\nNODE 1 3 1/8 1/8 1/8\n'
        b"EDGE 0.125 0.125 0.125 0.125 -0.125 0.375\nEND\nCRYSTAL\nGROUP P63/mmc\nCELL 1 1 1.633 90 90 120\n"
        b"NODE a 12 0.33333 0.66667 0.25\nEDGE a 1.33333 0.66667 0.25\nEDGE a 0.66667 0.33333 0.75\nEND\n"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("srs.cgd", cgd)
        archive.writestr("cell.lat", write_lat(records))
    graph = (
        b'{"directed": true, "graph": {"cell": [[1,0,0],[0,1,0],[0,0,1]]}, "nodes": [{"id": 0, "position": [0,0,0]}],'
        b'"links": [{"source": 0, "target": 0, "shift": [1,0,0]}, {"source": 0, "target": 0, "shift": [0,1,0]}]}'
    )
    extxyz = b'2\nLattice="2 0 0 0 2 0 0 0 2" Properties=species:S:1:pos:R:3 pbc="T T T"\nC 0 0 0\nC 1 1 1\n'
    return {
        "lat": write_lat(records).encode(),
        "json": write_json(records).encode(),
        "inp": write_inp([LatticeRecord("cell", shifted, 0.01)], elements_per_bar=1).encode(),
        "cgd": cgd,
        "zip": buffer.getvalue(),
        "graph": graph,
        "extxyz": extxyz,
    }


def mutate(data: bytes, source: random.Random) -> bytes:
    """A few random edits: bytes, numbers, tokens, whole lines and tails."""
    content = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 3, 8))):
        if not content:
            break
        place, kind = source.randrange(len(content)), source.randrange(8)
        if kind == 0:
            content[place] = source.randrange(256)
        elif kind == 1:
            content[place:place] = source.choice(TOKENS)
        elif kind == 2:
            del content[place : place + source.randrange(1, 40)]
        elif kind == 3:
            content = content[:place]
        elif kind == 4:
            end = source.randrange(place, min(len(content), place + 400) + 1)
            content[place:place] = content[place:end] * source.choice((1, 1, 2, 50))
        else:
            lines = content.split(b"\n")
            n = source.randrange(len(lines))
            words = lines[n].split(b" ")
            if kind == 5:
                words[source.randrange(len(words))] = source.choice(TOKENS)
                lines[n] = b" ".join(words)
            elif kind == 6:
                del lines[n]
            else:
                m = source.randrange(len(lines))
                lines[n], lines[m] = lines[m], lines[n]
            content = bytearray(b"\n".join(lines))
    return bytes(content)


def refusal(path) -> str:
    """What is wrong with the file, empty if it can be read; any other exception is a failure of the reader."""
    try:
        for _, found in scan(path, cutoff=2.0):
            if isinstance(found, FileFormatError):
                return str(found)
    except (InputError, MissingDependencyError) as error:
        return str(error)
    return ""


def attack(path, originals: list[bytes], count: int, seed: int) -> dict[str, int]:
    source, outcome = random.Random(seed), {"read": 0, "refused": 0}
    for number in range(count):
        data = mutate(source.choice(originals), source)
        path.write_bytes(data)
        try:
            message = refusal(path)
        except Exception as error:
            pytest.fail(f"mutation {number} of seed {seed}: {error!r} for {data[:2000]!r}")
        outcome["refused" if message else "read"] += 1
        if message:
            assert "\n" not in message, f"mutation {number} of seed {seed}: {message!r}"
            assert str(path) in message, message
    return outcome


def test_samples_are_good(tmp_path):
    for name, data in samples().items():
        path = tmp_path / name
        path.write_bytes(data)
        assert load(path, cutoff=2.0), name


def test_some_mutations(tmp_path):
    outcome = attack(tmp_path / "victim", list(samples().values()), 400, seed=0)
    assert min(outcome.values()) > 20


@pytest.mark.slow
def test_ten_thousand_mutations(tmp_path):
    outcome = attack(tmp_path / "victim", list(samples().values()), 10_000, seed=1)
    assert min(outcome.values()) > 500


@pytest.mark.slow
def test_mutations_of_published_files(tmp_path, shared_data):
    """Cuts of the real files, mutated."""
    source, cuts = random.Random(2), []
    for name in ("jmps_val.lat", "sample_cat.lat", "bcc-sc.inp", "bcc-sc.json"):
        data = (shared_data / "lattice" / name).read_bytes()
        starts = [0, *(source.randrange(max(1, len(data) - 20_000)) for _ in range(5))]
        cuts += [data[start : start + 20_000] for start in starts]
    attack(tmp_path / "victim", cuts, 2000, seed=3)
