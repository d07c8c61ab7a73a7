"""Which of several ways to compute the same results is taken, by name."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module

from panoptic_deeplab.labels import near_names


@cache
def has_numba() -> bool:
    """Whether numba is there and works with the NumPy that is there."""
    try:
        import_module("numba")
    except ImportError:
        return False
    return True


def choose_backend(name: str, others: Sequence[str], *, suits_numba: bool = True) -> str:
    """Check a back end's name and decide what "auto" is.

    Args:
        name: "auto", "numba" or one of the others.
        others: that do without numba; the first of them stands in for it.
        suits_numba: whether "auto" may be numba.

    Returns:
        "numba" or one of the others.

    Raises:
        ValueError: if the name is unknown.
        ImportError: if numba is asked for and not installed.
    """
    if name in others:
        return name
    if name == "auto":
        return "numba" if suits_numba and has_numba() else others[0]
    if name != "numba":
        raise ValueError(
            f"Unknown backend {name!r}. {near_names(name, ('auto', 'numba', *others))}"
        )
    if not has_numba():
        raise ImportError(
            "backend='numba' needs the package numba, which cannot be imported. Install it with "
            f'`pip install "panoptic-deeplab[fast]"` or choose backend="{others[0]}".'
        )
    return name
