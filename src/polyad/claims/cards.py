"""Cards: what Polyad holds, read without importing anything.

Every system has a file `polyad/claims/<package>/<slug>.py` with `CARD`, a dict of literals, and `run(report)`, the
experiment. Cards are read from the syntax tree, so listing all systems costs neither torch nor the systems themselves.

    CARD = {
        "id": "S001",                        # unique, S and three digits
        "slug": "lattice_elasticity",        # unique, the file's name
        "title": "...",                      # the paper's title
        "paper": "...",                      # authors, venue, year, identifier
        "bibtex": "@inproceedings{...}",
        "package": "materials",              # the file's folder, and the package that holds the method
        "module": "lattice",                 # module below the package, dotted where it is deeper
        "api": ["homogenize", "..."],        # public names of the module that make up the system
        "tags": ["lattices", "elasticity"],  # by data space and by structure
        "claim": "...",                      # one sentence
        "minutes": 2,                        # what run(report) takes on two cores
        "extras": [],                        # optional dependencies of the run, as in polyad[extra]
        "published": {"...": 0.7},           # the paper's hyper-parameters and numbers
        "contracts": {"homogenize": "solver"},  # optional: the kind of public functions (polyad.protocols)
    }
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, final

from polyad.errors import FileFormatError, InputError

CLAIMS_FOLDER = Path(__file__).parent

_TEXT_FIELDS = ("id", "slug", "title", "paper", "bibtex", "package", "module", "claim")
_LIST_FIELDS = ("api", "tags", "extras")
_FIELDS = {*_TEXT_FIELDS, *_LIST_FIELDS, "minutes", "published", "contracts"}
_OPTIONAL = {"contracts"}


@final
@dataclass(frozen=True)
class Card:
    """One system: what it is, where it lives and what its paper claims. See the module's docstring for the fields."""

    id: str
    slug: str
    title: str
    paper: str
    bibtex: str
    package: str
    module: str
    api: tuple[str, ...]
    tags: tuple[str, ...]
    claim: str
    minutes: float
    extras: tuple[str, ...]
    published: Mapping[str, Any]
    contracts: Mapping[str, str] = field(default_factory=dict)
    path: Path = Path()

    @property
    def import_name(self) -> str:
        """Dotted name of the module that holds the system, such as `polyad.materials.lattice`."""
        return f"polyad.{self.package}.{self.module}"

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values, without the place of the file."""
        fields = asdict(self)
        del fields["path"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def read_card(path: str | Path) -> Card:
    """The card in one file.

    Raises:
        FileFormatError: no `CARD`, a value that is not a literal, a field that is missing, unknown or malformed, no
            `run(report)`.
    """
    path = Path(path)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise FileFormatError(path, f"not a Python file ({error}); a card is one", line=line) from error
    node = _assigned(tree, "CARD")
    if node is None:
        raise FileFormatError(path, "no CARD; assign a dict of literals to it at the top of the file")
    try:
        fields = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise FileFormatError(
            path, "CARD is not made of literals; it is read without running", line=node.lineno
        ) from error
    problem = _problem_of(fields, path) or _problem_of_run(tree)
    if problem is not None:
        raise FileFormatError(path, problem, line=node.lineno)
    values: dict[str, Any] = {}
    for name, value in fields.items():
        values[name] = tuple(value) if name in _LIST_FIELDS else value
    return Card(**values, path=path)


def read_cards(*, package: str | None = None, tags: Iterable[str] = (), folder: str | Path | None = None) -> list[Card]:
    """All cards in the order of their ids; only those of `package` and with all `tags` where given.

    Args:
        package: only systems of this package.
        tags: only systems with all of these.
        folder: holds `<package>/<slug>.py`; by default Polyad's own.

    Raises:
        FileFormatError: a malformed card, or two cards with one id or slug.
        InputError: a package or a tag that no card has.
    """
    cards = [
        read_card(path)
        for path in sorted(Path(folder or CLAIMS_FOLDER).glob("*/*.py"))
        if not path.stem.startswith("_")
    ]
    seen: dict[str, Card] = {}
    for card in cards:
        for key in (card.id, card.slug):
            if key in seen:
                raise FileFormatError(card.path, f"{key!r} is taken by {seen[key].path.name}; choose another")
            seen[key] = card
    if package is not None:
        _check_known(package, "package", {card.package for card in cards})
    for tag in (wanted := set(tags)):
        _check_known(tag, "tag", {tag for card in cards for tag in card.tags})
    chosen = [card for card in cards if package in (None, card.package) and wanted <= set(card.tags)]
    return sorted(chosen, key=lambda card: card.id)


def find_card(name: str, *, folder: str | Path | None = None) -> Card:
    """The card with this slug or id.

    Raises:
        InputError: no such system; names the nearest ones.
    """
    cards = read_cards(folder=folder)
    for card in cards:
        if name in (card.slug, card.id):
            return card
    _check_known(name, "system", {card.slug for card in cards})
    raise AssertionError("unreachable")


def _check_known(name: str, what: str, known: set[str]) -> None:
    if name in known:
        return
    near = get_close_matches(name, known) or sorted(known)[:8]
    hint = f"did you mean {' or '.join(near)}?" if near else "there is none yet."
    raise InputError(f"no {what} {name!r}; {hint} 'polyad systems' lists all")


def _assigned(tree: ast.Module, name: str) -> ast.expr | None:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and any(_is_name(target, name) for target in statement.targets):
            return statement.value
        if isinstance(statement, ast.AnnAssign) and _is_name(statement.target, name):
            return statement.value
    return None


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _problem_of_run(tree: ast.Module) -> str | None:
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "run":
            names = [argument.arg for argument in statement.args.args]
            return None if names == ["report"] else f"run takes {names}; it must take report alone"
    return "no function run(report); it holds the experiment"


def _problem_of(fields: Any, path: Path) -> str | None:
    """What is wrong with the fields of a card, or None."""
    if not isinstance(fields, dict):
        return f"CARD is a {type(fields).__name__}; it must be a dict"
    missing = sorted(_FIELDS - _OPTIONAL - set(fields))
    unknown = sorted(str(name) for name in set(fields) - _FIELDS)
    if missing or unknown:
        return (
            f"CARD lacks {missing}" if missing else f"CARD has unknown fields {unknown}; allowed are {sorted(_FIELDS)}"
        )
    for name in _TEXT_FIELDS:
        if not isinstance(fields[name], str) or not fields[name].strip():
            return f"{name} must be text that is not empty"
    for name in _LIST_FIELDS:
        value = fields[name]
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            return f"{name} must be a list of names"
        if not value and name != "extras":
            return f"{name} is empty"
        if len(set(value)) < len(value):
            return f"{name} names something twice"
    return _problem_of_values(fields, path)


def _problem_of_values(fields: dict[str, Any], path: Path) -> str | None:
    from polyad.protocols import KINDS

    minutes, published, contracts = fields["minutes"], fields["published"], fields.get("contracts", {})
    if not re.fullmatch(r"S\d{3}", fields["id"]):
        return f"id is {fields['id']!r}; it must be S and three digits"
    if fields["slug"] != path.stem or not re.fullmatch(r"[a-z][a-z0-9_]*", path.stem):
        return (
            f"slug is {fields['slug']!r}; it must be the file's name, {path.stem!r}, in small letters and underscores"
        )
    if fields["package"] != path.parent.name:
        return f"package is {fields['package']!r}; it must be the file's folder, {path.parent.name!r}"
    if not all(part.isidentifier() for part in fields["module"].split(".")):
        return f"module is {fields['module']!r}; it must be a dotted name below the package"
    if not all(name.isidentifier() for name in fields["api"]):
        return "api must hold names of the module"
    if not re.match(r"@[a-z]+\{[^,\s]+,", fields["bibtex"].strip()):
        return "bibtex must be one entry, such as '@article{key, ...}'"
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)) or not 0 < minutes < 1e4:
        return f"minutes is {minutes!r}; it must be a positive number"
    if not isinstance(published, dict) or not all(isinstance(key, str) for key in published):
        return "published must be a dict with text as keys"
    if not isinstance(contracts, dict) or not set(contracts) <= set(fields["api"]):
        return "contracts must be a dict from names in api to kinds"
    wrong = sorted({str(kind) for kind in contracts.values()} - set(KINDS))
    return f"contracts names unknown kinds {wrong}; known are {sorted(KINDS)}" if wrong else None
