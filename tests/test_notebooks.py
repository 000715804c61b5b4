"""The form of the lessons, and their own definitions beside those of the helpers."""

import ast
import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
from conftest import LESSONS, NOTEBOOKS, SOLUTIONS, cells, each_lesson, name, tags
from scipy.special import log_expit
from scipy.stats import norm

from helpers import boltzmann, datasets, evaluation, models, noise, pretraining
from helpers.backend import tf

KEPT = ("tags", "nbval-reason", "measured")

each_notebook = pytest.mark.parametrize("path", [*LESSONS, *SOLUTIONS], ids=name)


def test_lessons_are_numbered_and_each_has_a_solution():
    assert [path.name[:3] for path in LESSONS] == [f"{i:02}_" for i in range(1, len(LESSONS) + 1)]
    named = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    assert [path for path in named if re.fullmatch(r"\d\d_[a-z_]+", path.stem)] == LESSONS


def test_committed_notebooks_are_in_normal_form():
    # What `make lint` asks, too: no metadata but these.
    command = [Path(sys.executable).with_name("nb-clean"), "check", "-o", "-c", "-n"]
    for field in KEPT:
        command += ["--preserve-cell-metadata-field", field]
    found = subprocess.run([*command, "--", *LESSONS, *SOLUTIONS], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@each_notebook
def test_committed_notebooks_are_executed_once_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info
    counts = [cell.execution_count for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < 1_000_000


ABSOLUTE = re.compile(
    r"(?<![\w./:~-])/(?:home|root|Users|tmp|var|opt|usr|mnt|srv|private|content|workspace)/"
    r"|(?<!\w)[A-Za-z]:\\{1,2}\w|file://|\bat 0x[0-9a-fA-F]{6,}"
)


@each_notebook
def test_no_committed_output_names_a_path_of_some_machine_or_an_address(path):
    for cell in cells(path):
        for output in cell.outputs:
            data = {k: v for k, v in output.get("data", {}).items() if k != "image/png"}
            assert not ABSOLUTE.search(json.dumps([data, output.get("text")])), cell.source
            assert not [kind for kind in data if "widget" in kind]


@each_lesson
def test_a_lesson_opens_as_every_lesson_does(path):
    first, second, *_ = cells(path, "markdown")
    assert re.fullmatch(rf"# {int(path.name[:2])} · \S.*[^*]\*", first.source, re.DOTALL)
    for heading in ("What you will do.", "What you will learn.", "What you need.", "How long"):
        assert f"**{heading}" in second.source
    setup, parameters, check, *_ = cells(path)
    assert "plt.style.use(plotting.STYLE)" in setup.source
    assert tags(parameters) == ["parameters"]
    assert check.source.startswith("parameters.check(\n    globals(),\n")
    for folded in (setup, check):
        assert tags(folded) == ["hide-input"]


STORED = "The numbers in the text are those of the stored run: default parameters, complete data."


@each_lesson
def test_a_lesson_opens_with_a_picture_and_a_question_and_says_which_run_it_speaks_of(path):
    first, second, *_ = cells(path, "markdown")
    form = r"# [^\n]+\n\n!\[[^\]]{20,}\]\(([\w.]+\.png)\)\n\n\*(?!\*)[^*\n]+\?[^*\n]*\*"
    opening = re.fullmatch(form, first.source)
    assert opening, "expected the title, a picture, and a question in italics: a paragraph each"
    assert path.with_name(opening[1]).is_file()
    assert second.source.endswith(STORED)


@each_lesson
def test_a_lesson_closes_as_every_lesson_does(path):
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[-4:] == ["Summary", "What to remember", "Exercises", "Further reading"]
    references = text.split("## Further reading")[1]
    assert len(re.findall(r"^- .+\((?:19|20)\d\d\)\. .+", references, re.MULTILINE)) >= 3
    assert f"[solutions/{path.name}](solutions/{path.name})" in text
    (saving,) = [cell for cell in cells(path) if "results.save(" in cell.source]
    assert re.search(rf'results\.save\(\s*"{path.stem}"', saving.source)
    assert [cell for cell in cells(path) if "hide-cell" in tags(cell)] == [saving]


@each_lesson
def test_a_lesson_asks_for_predictions_and_has_little_book_keeping(path):
    predictions = [c for c in cells(path, "markdown") if "**Predict.**" in c.source]
    assert len(predictions) >= 2
    (saving,) = [cell for cell in cells(path) if "results.save(" in cell.source]
    assert len(saving.source.splitlines()) <= 12


def checks(path: Path) -> dict[str, str]:
    """Return what the checks of a notebook's exercises say, one line each, last in their cells."""
    said = {}
    for cell in cells(path):
        names = re.findall(r"exercises\.(check_\w+)\(", cell.source)
        lines = "".join(output.get("text", "") for output in cell.outputs).splitlines()
        said |= zip(names, lines[len(lines) - len(names) :], strict=True)
    return said


@each_lesson
def test_every_exercise_is_open_in_the_lesson_and_right_in_its_solution(path):
    stubs, solved = checks(path), checks(path.parent / "solutions" / path.name)
    assert stubs.keys() == solved.keys()
    assert len(stubs) >= 2
    assert not [name for name, said in stubs.items() if not said.startswith("Not attempted yet")]
    assert not [name for name, said in solved.items() if not said.startswith("Right")]


@each_lesson
def test_a_lesson_has_three_exercises_or_more_each_with_a_folded_hint(path):
    asked = [cell for cell in cells(path) if "exercises.check_" in cell.source]
    assert 3 <= len(asked) <= 5
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    # Without the blank lines the hint would not be read as Markdown.
    hints = re.findall(r"<details><summary>Hint</summary>\n\n.+?\n\n</details>", text, re.DOTALL)
    assert len(hints) >= len(asked)


@each_lesson
def test_papermill_can_read_the_parameters_as_a_manual(path):
    for parameter in papermill.inspect_notebook(str(path)).values():
        assert parameter["inferred_type_name"] in {"int", "float", "str", "bool", "list[int]"}
        assert parameter["help"]
        parameter["help"].encode("cp1252")  # what a pipe on Windows takes
        assert "=" not in parameter["help"]


def statements(cell) -> int:
    """Return how many statements of Python a cell has, docstrings left out."""
    found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.stmt)]
    docstrings = [s for s in found if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)]
    return len(found) - len(docstrings)


@each_lesson
def test_a_lesson_is_neither_a_leaflet_nor_a_book(path):
    words = sum(len(cell.source.split()) for cell in cells(path, "markdown"))
    assert 1500 <= words <= 2600
    assert 35 <= len(cells(path)) + len(cells(path, "markdown")) <= 60
    # Not lines: how many of these a call takes is for the formatter to say.
    assert 150 <= sum(map(statements, cells(path))) <= 200


@each_notebook
def test_code_cells_are_short(path):
    longest = max(len(cell.source.splitlines()) for cell in cells(path))
    assert longest <= 28
    assert max(len(line) for cell in cells(path) for line in cell.source.splitlines()) <= 88


@each_notebook
def test_an_output_is_left_uncompared_only_for_a_reason(path):
    for cell in cells(path):
        ignored = "nbval-ignore-output" in tags(cell)
        assert ignored == bool(cell.metadata.get("nbval-reason"))
        assert "nbval" not in cell.source.lower()


@each_lesson
def test_at_least_half_of_the_outputs_are_compared(path):
    showing = [cell for cell in cells(path) if cell.outputs]
    compared = [cell for cell in showing if "nbval-ignore-output" not in tags(cell)]
    assert showing
    assert len(compared) >= len(showing) / 2


@each_notebook
def test_every_figure_has_a_text_alternative(path):
    for cell in cells(path):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata["image/png"]["alt"]
                assert len(alt) > 20
                assert output.data["text/plain"] == alt


@each_notebook
def test_no_cell_shows_an_error_a_warning_or_a_figure_without_a_helper(path):
    for cell in cells(path):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            assert "<Figure size" not in json.dumps(output)


@each_notebook
def test_a_table_is_the_last_thing_in_its_cell(path):
    # Jupyter shows the value of the last expression only.
    for cell in cells(path):
        for statement in ast.parse(cell.source).body[:-1]:
            unseen = isinstance(statement, ast.Expr) and "table(" in ast.unparse(statement)
            assert not unseen, f"never shown: {ast.unparse(statement)}"


@each_lesson
def test_stored_outputs_come_from_the_complete_data(path):
    shown = json.dumps([cell.outputs for cell in cells(path)])
    assert "complete: 60,000 training and 10,000 test images." in shown
    assert "SAMPLE" not in shown


@each_lesson
def test_a_lessons_picture_is_what_it_shows(path):
    pictures = [cell for cell in cells(path) if "picture" in tags(cell)]
    assert len(pictures) == path.with_suffix(".png").exists()
    for cell in pictures:
        (shown,) = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
        same = base64.b64decode(shown) == path.with_suffix(".png").read_bytes()
        assert same, "run `make refresh`"


@pytest.mark.parametrize("lesson", ["03_deep_autoencoder", "05_comparison"])
def test_the_readme_shows_pictures_of_lessons(lesson):
    assert (NOTEBOOKS / f"{lesson}.png").is_file()
    assert f"notebooks/{lesson}.png" in (NOTEBOOKS.parent / "README.md").read_text("utf-8")


@each_lesson
def test_default_parameters_have_not_been_overwritten(path):
    assert not any("injected-parameters" in tags(cell) for cell in cells(path))


def test_the_teachers_page_names_sections_that_are_there():
    page = (NOTEBOOKS.parent / "docs" / "teachers.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \|(.+)$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(LESSONS) + 1))
    for (_, row), path in zip(rows, LESSONS, strict=True):
        text = "\n".join(cell.source for cell in cells(path, "markdown"))
        headings = set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))
        assert set(re.findall(r'"(.+?)"', row)) <= headings
        assert set(re.findall("`(.+?)`", row)) <= papermill.inspect_notebook(str(path)).keys()


# What a lesson writes out in full and later lessons import must be the same thing.


def definitions(lesson: str, **parameters: object) -> dict[str, object]:
    """Return a lesson's imports, parameters, functions and classes, without running the lesson."""
    namespace: dict[str, object] = {}
    for cell in cells(NOTEBOOKS / f"{lesson}.ipynb"):
        kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
        tree = ast.parse(cell.source)
        if "parameters" not in tags(cell):
            tree.body = [
                node
                for node in tree.body
                if isinstance(node, kept) and not getattr(node, "decorator_list", [])
            ]
        exec(compile(tree, lesson, "exec"), namespace)
    namespace.update(parameters)
    return namespace


@pytest.fixture(scope="module")
def sample() -> datasets.Dataset:
    return datasets.load("mnist", "sample")


def test_lesson_1_scales_and_splits_as_datasets_does(sample):
    lesson = definitions("01_data_loading")
    train, validation = lesson["split"](sample.train_images, sample.train_labels)
    expected = datasets.split(sample)
    for (images, labels), part in ((train, expected.train), (validation, expected.validation)):
        np.testing.assert_array_equal(images, part.images)
        np.testing.assert_array_equal(labels, part.labels)
    np.testing.assert_array_equal(lesson["scale"](sample.test_images), expected.test.images)


def test_lesson_1_encodes_and_decodes_as_evaluation_does(sample):
    images = datasets.split(sample).test.images
    pca = evaluation.fit_pca(images)
    lesson = definitions("01_data_loading", mean=pca.mean_, directions=pca.components_)
    codes = lesson["encode"](images[:5], 20)
    assert codes.shape == (5, 20)
    rebuilt = evaluation.pca_reconstruct(pca, images[:5], 20)
    np.testing.assert_allclose(lesson["decode"](codes), rebuilt, atol=1e-9)


def test_lesson_2_builds_the_autoencoder_of_models():
    lesson = definitions("02_basic_autoencoder")
    own = lesson["basic_autoencoder"](100)
    twin = models.basic_autoencoder(784, 100, initializer=models.normal(0.01, 0))
    rows = np.random.default_rng(0).random([5, 784], np.float32)
    for ours, theirs in zip(own.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(own(rows), twin(rows))
    linear = lesson["basic_autoencoder"](100, None).encoder(rows)
    assert (linear.numpy() < 0).any()


def test_lesson_2_and_lesson_4_measure_the_error_of_pretraining():
    autoencoder = models.basic_autoencoder(784, 7, initializer=models.normal(0.1, 3))
    rows = np.random.default_rng(0).random([5, 784], np.float32)
    expected = pretraining.squared_error(autoencoder, rows)
    for lesson in ("02_basic_autoencoder", "04_stacked_pretraining"):
        own = definitions(lesson)["squared_error"](autoencoder, rows)
        np.testing.assert_array_equal(own, expected)


def test_lesson_3_builds_the_autoencoder_of_models():
    own = definitions("03_deep_autoencoder")["deep_autoencoder"]([256, 128], 20, 4)
    twin = models.deep_autoencoder(784, [256, 128], 20, seed=4)
    rows = np.random.default_rng(0).random([5, 784], np.float32)
    for ours, theirs in zip(own.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(own(rows), twin(rows))


def test_lesson_4_climbs_as_pretraining_does(sample):
    images = datasets.split(sample).train.images[:500]
    lesson = definitions("04_stacked_pretraining", steps=150, seed=2, stddev=0.05)
    (twin,) = pretraining.pretrain(
        images,
        [20, 10],
        seeds=[2],
        optimizer=lesson["adam"],
        steps=150,
        batch_size=100,
        initializer=lambda seed: models.normal(0.05, seed),
    )
    below, own = images, []
    for depth, level in enumerate(twin):
        own.append(lesson["train_level"](below, [20, 10][depth], depth))
        np.testing.assert_array_equal(own[-1].encoder[0], level.encoder[0])
        np.testing.assert_allclose(own[-1].codes, level.codes, rtol=1e-6)
        np.testing.assert_array_equal(own[-1].history.losses, level.history.losses)
        below = level.codes
    (lower, lower_bias), (upper, upper_bias) = (level.decoder for level in twin)
    codes = np.maximum(twin[1].codes @ upper + upper_bias, 0)
    remembered = codes @ lower + lower_bias
    np.testing.assert_allclose(lesson["decode_down"](own[1].codes, own), remembered, rtol=1e-4)


def test_lesson_5_starts_differ_in_what_their_names_say_only(sample):
    images = datasets.split(sample).train.images
    train = datasets.Split(images, np.zeros(len(images), np.int32))
    lesson = definitions("05_comparison", units=[30, 20], train=train)
    sizes = [(784, 30), (30,), (30, 20), (20,), (20, 10), (10,)]
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=size).astype(np.float32) for size in sizes]
    shuffled = lesson["shuffled"](weights, 3)
    for i, (before, after) in enumerate(zip(weights, shuffled, strict=True)):
        np.testing.assert_array_equal(np.sort(before, axis=None), np.sort(after, axis=None))
        assert np.array_equal(before, after) == (i not in (0, 2))
    encoders = [weights[:2], weights[2:4]]
    levels = [pretraining.Level(encoder, [], np.empty(0), None) for encoder in encoders]
    stacked = lesson["pretrained"](levels, 3)
    for before, after in zip(weights[:4], stacked[:4], strict=True):
        np.testing.assert_array_equal(before, after)
    assert [w.shape for w in stacked] == sizes
    weights[1][:12], weights[3] = -1000, np.repeat(np.float32([-1000, 1000]), [7, 13])
    revived = lesson["revived"](weights)
    changed = [np.flatnonzero(np.ravel(a != b)) for a, b in zip(weights, revived, strict=True)]
    assert [list(where) for where in changed] == [[], list(range(12)), [], list(range(7)), [], []]
    for layer, dead in zip(lesson["hidden"](revived, images), (12, 7), strict=True):
        np.testing.assert_allclose((layer[:, :dead] > 0).mean(axis=0), 0.01, atol=0.002)


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        (np.full(20, 96.0) + np.arange(20), np.full(20, 90.0), "holds (p < 0.001)"),
        (np.full(20, 90.0), np.full(20, 96.0) + np.arange(20), "contradicted (p < 0.001)"),
        (np.arange(8.0) + 1, np.zeros(8), "holds (p = 0.008)"),
        (np.arange(7.0) + 1, np.zeros(7), "left open (p = 0.02)"),
        (np.arange(20.0), np.arange(20.0)[::-1], "left open (p = 1.00)"),
    ],
)
def test_lesson_5_verdicts_follow_from_the_numbers(one, other, verdict):
    assert definitions("05_comparison")["verdict"](one, other) == verdict


def test_lesson_6_computes_the_bound_that_numpy_computes():
    lesson = definitions("06_generative_models", hidden=[9, 7], seed=5)
    model, rng = lesson["VAE"](3), np.random.default_rng(0)
    shapes = [(784, 9), (9,), (9, 7), (7,), (7, 6), (6,), (3, 7), (7,), (7, 9), (9,), (9, 784)]
    assert [w.shape for w in model.get_weights()] == [*shapes, (784,)]
    weights = [rng.normal(0, 2 / len(w) ** 0.5, w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    images, noise = rng.random([4, 784], np.float32), rng.normal(size=[4, 3]).astype(np.float32)

    def stack(rows, *layers):
        for matrix, bias in (layers[0:2], layers[2:4]):
            rows = np.maximum(rows @ matrix + bias, 0)
        return rows @ layers[4] + layers[5]

    mean, spread = np.split(stack(images.astype(np.float64), *weights[:6]), 2, axis=1)
    spread = np.exp(spread) ** 0.5
    logits = stack(mean + spread * noise, *weights[6:])
    likelihood = images * log_expit(logits) + (1 - images) * log_expit(-logits)
    crossed = (np.log(2 * np.pi) + mean**2 + spread**2) / 2  # of q and the prior
    divergence = (crossed - norm(scale=spread).entropy()).sum(axis=1)
    assert divergence.mean() > 5  # not lost beside the other term
    expected = (divergence - likelihood.sum(axis=1)).mean()
    found = float(lesson["negative_elbo"](model, images, noise))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    # Each step draws noise of its own.  (Compiled: the generator needs XLA.)
    loss = tf.function(lambda: lesson["vae_loss"](model, images), jit_compile=True)
    steps = [float(loss()) for _ in range(2)]
    assert steps[0] != steps[1]


class StepDraws:
    """The draws that helpers make inside a step, in the place of a NumPy generator's."""

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = tf.constant(numbers)

    def random(self, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        return noise.uniform(shape, self.numbers).numpy().astype(dtype)


def test_lesson_7_moves_an_rbm_as_contrastive_divergence_does():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((6, 4), 4, 6)]
    rows, numbers = rng.random((5, 6), np.float32), noise.column(5)
    moved = definitions("07_when_pretraining_pays")["cd1"](*arrays, rows, StepDraws(numbers))
    rbm = boltzmann.RBM(6, 4, initializer="zeros")
    rbm.set_weights(arrays)
    with tf.GradientTape() as tape:
        loss = boltzmann.contrastive_divergence(rbm, tf.constant(rows), tf.constant(numbers))
    for gradient, direction in zip(tape.gradient(loss, rbm.weights), moved, strict=True):
        np.testing.assert_allclose(-gradient.numpy(), direction, rtol=1e-4, atol=1e-6)


def test_lesson_7_takes_all_labels_there_are_where_more_are_asked_for():
    rng, sizes = np.random.default_rng(0), (30, 10, 10)
    given = {"classifier_units": [5], "label_counts": [20, 10000], "label_steps": 5}
    given["rates"] = {"Adam": [0.001]}
    given["known"] = [rng.random((size, 784), np.float32) for size in sizes]
    given["answers"] = [rng.integers(0, 10, size).astype(np.int32) for size in sizes]
    lesson = definitions("07_when_pretraining_pays", **given)
    start = lesson["classifier"](models.he(0), "relu").get_weights()
    for found in (lesson["tune"](start, "relu", 0), lesson["read"]([], 0)):
        assert [len(values) for values in found] == [2, 2]


def test_lesson_3_makes_the_holes_that_masking_noise_makes():
    rows, numbers = np.random.default_rng(0).random((5, 6), np.float32), noise.column(5)
    corrupt = definitions("solutions/03_deep_autoencoder")["corrupt"]
    holed = corrupt(rows, 0.5, StepDraws(numbers))
    assert 0 < np.count_nonzero(holed) < rows.size
    np.testing.assert_array_equal(holed, noise.mask(tf.constant(rows), 0.5, tf.constant(numbers)))
