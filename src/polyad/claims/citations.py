"""What a script owes: the systems whose functions it uses, found in its syntax tree without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from polyad.claims.cards import Card
from polyad.errors import FileFormatError


def cited_systems(script: str | Path, cards: Iterable[Card]) -> list[Card]:
    """The cards whose api the script uses, or whose whole module it imports with a star.

    Raises:
        FileFormatError: not a Python file.
    """
    path = Path(script)
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise FileFormatError(path, f"not a Python file ({error}); give a script", line=line) from error
    used = names_used(tree)
    return [card for card in cards if _uses(card, used)]


def names_used(tree: ast.Module) -> set[str]:
    """Dotted names of Polyad that a module imports or reaches through what it imports."""
    alias: dict[str, str] = {}
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                bound = item.asname or item.name.partition(".")[0]
                alias[bound] = item.name if item.asname else bound
                used.add(item.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for item in node.names:
                alias[item.asname or item.name] = f"{node.module}.{item.name}"
                used.add(f"{node.module}.{item.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts: list[str] = []
            inner: ast.expr = node
            while isinstance(inner, ast.Attribute):
                parts.insert(0, inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id in alias:
                used.add(".".join([alias[inner.id], *parts]))
    return {name for name in used if name.startswith("polyad.")}


def _uses(card: Card, used: set[str]) -> bool:
    """Whether a name is `<module>.*`, `<module>.<api>...`, or an api imported from a file below the module."""
    for name in used:
        inner = name.removeprefix(card.import_name + ".")
        if inner != name and (inner == "*" or set(inner.split(".")) & set(card.api)):
            return True
    return False
