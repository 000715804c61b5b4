"""Progress bars for people, and none for machines."""

from IPython import get_ipython
from tqdm.auto import tqdm


def is_headless() -> bool:
    """Tell whether nobody is watching: only a front end lets a cell ask its user for input."""
    kernel = getattr(get_ipython(), "kernel", None)
    return not getattr(kernel, "_allow_stdin", False)


def bar(total: int, description: str, unit: str = "step", **options: object) -> tqdm:
    """Return a tqdm bar that shows only in a front end and is gone when its work is done."""
    disable = is_headless()
    return tqdm(total=total, desc=description, unit=unit, leave=False, disable=disable, **options)
