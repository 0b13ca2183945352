"""The kinds of thing that Polyad offers, and what each kind promises.

A function is of a kind when it keeps the promises in the kind's docstring; a card names the kind of its public
functions under `contracts`, and one contract test runs over all members of a kind. Nothing needs to inherit from these
protocols.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Solver(Protocol):
    """A pure function from a problem to its solution.

    Promises: the same problem gives the same numbers; the problem is not changed; tensors come back in the dtype of the
    problem's tensors, and float32 agrees with float64 to float32's accuracy; a problem that is not well posed is
    refused with `InputError` in one line.
    """

    def __call__(self, problem: Any, /, **options: Any) -> Any:
        """Solve the problem."""


@runtime_checkable
class Generator(Protocol):
    """A function that draws something at random.

    Promises: the same `seed` gives the same result, another seed another one; torch's, NumPy's and Python's global
    generators are neither read nor moved; inputs are not changed; impossible requests are refused with `InputError` in
    one line.
    """

    def __call__(self, *arguments: Any, seed: int, **options: Any) -> Any:
        """Draw with this seed."""


KINDS: dict[str, type] = {"solver": Solver, "generator": Generator}
