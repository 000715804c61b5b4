"""The lessons as files: their titles, their parameters, and which values these accept."""

import ast
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Parameter:
    """One line of a lesson's parameters cell.

    Attributes
    ----------
    name : str
        Name of the variable.
    kind : str
        Its annotation: ``int``, ``float``, ``str``, ``bool`` or ``list[int]``.
    default : object
        The value it has in the notebook.
    meaning : str
        The comment behind it.
    """

    name: str
    kind: str
    default: object
    meaning: str


@dataclass(frozen=True)
class Lesson:
    """A notebook of the course.

    Attributes
    ----------
    name : str
        File name without its ending.
    path : pathlib.Path
        The notebook.
    title : str
        Its first heading.
    parameters : dict
        Its parameters by name, in the order of the notebook.
    content : str
        All its cells without their outputs, as text: what the outputs follow from.
    takes_times : bool
        Whether it shows how long something takes: it has a cell with the tag ``timing``.
    """

    name: str
    path: Path
    title: str
    parameters: dict[str, Parameter]
    content: str
    takes_times: bool


def find(folder: Path) -> list[Lesson]:
    """Return the lessons of a folder, which are the notebooks that begin with a number."""
    return [read(path) for path in sorted(folder.glob("[0-9]*.ipynb"))]


def read(path: Path) -> Lesson:
    """Read a lesson's title and parameters without running anything.

    Raises
    ------
    ValueError
        If the file is no notebook, or a parameter has no annotation or no plain value.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        triples = [
            (cell["cell_type"], "".join(cell["source"]), list(cell["metadata"].get("tags", [])))
            for cell in cells
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name}: expected a notebook of format 4 ({error!r})") from error
    headings = (
        re.sub(r"[*`]", "", match[1])
        for kind, source, _ in triples
        if kind == "markdown" and (match := re.search(r"^#+ +(.+?)\s*$", source, re.MULTILINE))
    )
    tagged = [source for kind, source, tags in triples if kind == "code" and "parameters" in tags]
    try:
        parameters = _parameters(tagged[0]) if tagged else {}
    except (ValueError, SyntaxError, TypeError) as error:
        raise ValueError(f"{path.name}: the parameters cell: {error}") from error
    return Lesson(
        name=path.stem,
        path=path,
        title=next(headings, path.stem),
        parameters=parameters,
        content=json.dumps(triples),
        takes_times=any("timing" in tags for _, _, tags in triples),
    )


def select(lessons: Sequence[Lesson], wanted: Iterable[str]) -> list[Lesson]:
    """Return the lessons named, or all of them where none is named, in the course's order.

    Parameters
    ----------
    lessons : sequence of Lesson
        All lessons.
    wanted : iterable of str
        Numbers (``3``, ``03``), names, file names, or beginnings of a name with or without its
        number.

    Raises
    ------
    ValueError
        If a name fits no lesson or several.
    """
    chosen = {_one(lessons, name).name for name in wanted}
    return [lesson for lesson in lessons if lesson.name in chosen or not chosen]


def _one(lessons: Sequence[Lesson], wanted: str) -> Lesson:
    name = Path(wanted).stem if wanted.endswith(".ipynb") else wanted
    exact = [lesson for lesson in lessons if name == lesson.name]
    if name.isdigit():
        fitting = [lesson for lesson in lessons if int(_number(lesson.name)) == int(name)]
    else:
        fitting = [
            lesson
            for lesson in lessons
            if name and name in (lesson.name[: len(name)], _bare(lesson.name)[: len(name)])
        ]
    found = exact or fitting
    if len(found) != 1:
        problem = "several lessons fit" if found else "no such lesson"
        valid = ", ".join(lesson.name for lesson in found or lessons) or "(none)"
        raise ValueError(f"{problem}: {wanted!r}; expected one of: {valid}")
    return found[0]


def _number(name: str) -> str:
    return re.match(r"\d+", name)[0]


def _bare(name: str) -> str:
    return re.sub(r"^\d+[_-]*", "", name)


def _parameters(source: str) -> dict[str, Parameter]:
    """Read the lines ``name: kind = default  # meaning`` of a parameters cell."""
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            received = ast.get_source_segment(source, node)
            raise ValueError(f"expected lines like 'steps: int = 10', received {received!r}")
        if node.value is None:
            raise ValueError(f"expected a default for {node.target.id!r}, received none")
        # The column counts bytes; a comment may hold other characters than ASCII.
        behind = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
        found[node.target.id] = Parameter(
            name=node.target.id,
            kind=ast.unparse(node.annotation),
            default=ast.literal_eval(node.value),
            meaning=behind.strip().lstrip("#").strip(),
        )
    return found


def from_text(parameter: Parameter, text: str) -> object:
    """Return a parameter's value as given on the command line.

    Truth values are ``true`` and ``false``; lists are ``784,100`` or ``[784, 100]``.

    Raises
    ------
    ValueError
        If the text is no value of the parameter's type.
    """
    if parameter.kind == "str":
        return text
    literal = text.strip()
    if parameter.kind == "bool":
        literal = literal.capitalize()
    if parameter.kind.startswith("list[") and not literal.startswith("["):
        literal = f"[{literal}]"
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    return checked(parameter, value)


def checked(parameter: Parameter, value: object) -> object:
    """Return a parameter's value, a whole number as a float where a float is expected.

    Raises
    ------
    ValueError
        If the value is not of the parameter's type.
    """
    if not _fits(parameter.kind, value) or (parameter.kind == "float" and not _finite(value)):
        raise ValueError(
            f"parameter {parameter.name}: expected {parameter.kind} "
            f"(such as {parameter.default!r}), received {value!r}"
        )
    return float(value) if parameter.kind == "float" else value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _fits(kind: str, value: object) -> bool:
    if kind.startswith("list["):
        return isinstance(value, list) and all(_fits(kind[5:-1], item) for item in value)
    accepted = {"int": (int,), "float": (float, int), "str": (str,), "bool": (bool,)}
    # type(), as True is an instance of int
    return type(value) in accepted.get(kind, ())


def known(lesson: Lesson, name: str) -> Parameter:
    """Return a lesson's parameter of this name.

    Raises
    ------
    ValueError
        If the lesson has no such parameter.
    """
    if name not in lesson.parameters:
        valid = ", ".join(lesson.parameters) or "(none)"
        raise ValueError(f"{lesson.name} has no parameter {name!r}; expected one of: {valid}")
    return lesson.parameters[name]
