"""Reference results of lesson 5: the same measurements over many seeds, kept with the course.

``course study --publish`` writes them to ``data/reference/<dataset>.json``.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from helpers import files


@dataclass(frozen=True)
class Reference:
    """What a study measured.

    Attributes
    ----------
    dataset, source : str
        Name of the data set, and ``"full"`` or ``"sample"``.
    seeds : list of int
        One run of the lesson each.
    parameters : dict
        The lesson's parameters, the same for all runs.
    versions : dict
        Versions of Python and of the packages that did the work.
    machine : str
        Operating system and processor it was done on.
    numbers : dict
        Name -> one number, or one list of numbers, a seed, in the order of ``seeds``.
    """

    dataset: str
    source: str
    seeds: list[int]
    parameters: dict[str, object]
    versions: dict[str, str]
    machine: str
    numbers: dict[str, list]

    @property
    def described(self) -> str:
        """What was run, in one line."""
        return (
            f"reference: {len(self.seeds)} seeds, {self.parameters['steps']:,} steps, "
            f"{self.dataset} ({self.source} data), TensorFlow {self.versions['tensorflow']}"
        )


def path(dataset: str) -> Path:
    """Return where the reference results for a data set lie."""
    return files.ROOT / "data" / "reference" / f"{dataset}.json"


def load(dataset: str) -> Reference | None:
    """Return the reference results for a data set, or None if there are none.

    Raises
    ------
    ValueError
        If the file cannot be understood.
    """
    place = path(dataset)
    if not place.is_file():
        return None
    try:
        return Reference(**json.loads(place.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{place.name}: expected reference results as `course study --publish` writes them "
            f"({error})"
        ) from error


def text(reference: Reference) -> str:
    """Return reference results as the text of their file, a line for each number's name."""
    head = asdict(reference)
    numbers = head.pop("numbers")
    rows = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in sorted(numbers.items())
    )
    lines = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{lines},\n "numbers": {{\n{rows}\n }}\n}}\n'
