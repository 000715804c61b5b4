"""Results as JSON and as a table, files that are complete or not there, reference results."""

import errno
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helpers import results

CLAIM = results.Claim("PCA is a bound", "", "9.1 per image", "holds")


@pytest.fixture(autouse=True)
def build(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("COURSE_BUILD_DIR", str(tmp_path / "build"))
    return tmp_path / "build"


def save(**changes: object) -> Path:
    options = {
        "parameters": {"code_size": 100, "noise": 0.1, "units": [3, 2], "source": "auto"},
        "dataset": "mnist",
        "source": "sample",
        "numbers": {"loss": 1.5},
        "claims": [CLAIM],
    }
    return results.save("02_basic_autoencoder", **(options | changes))


def saved(**changes: object) -> dict[str, object]:
    return json.loads(save(**changes).read_text(encoding="utf-8"))


# ----------------------------------------------------------------------------------------- files


def test_the_build_folder_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BUILD_DIR", str(tmp_path / "elsewhere"))
    assert results.build_dir() == tmp_path / "elsewhere"


def test_the_build_folder_may_lie_at_home(monkeypatch):
    monkeypatch.setenv("COURSE_BUILD_DIR", "~/built")
    assert results.build_dir() == Path.home() / "built"


def test_the_build_folder_is_in_the_course_by_default(monkeypatch):
    monkeypatch.delenv("COURSE_BUILD_DIR")
    assert results.build_dir() == results.ROOT / "build"


def test_an_empty_environment_variable_names_no_build_folder(monkeypatch):
    monkeypatch.setenv("COURSE_BUILD_DIR", "")
    assert results.build_dir() == results.ROOT / "build"


def test_the_course_folder_is_the_one_with_the_helpers():
    assert (results.ROOT / "helpers" / "results.py").samefile(results.__file__)
    assert (results.ROOT / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("content", "expected"),
    [("a – b\n", b"a \xe2\x80\x93 b\n"), ("", b"")],
)
def test_write_makes_a_file_and_its_folders(tmp_path, content, expected):
    path = tmp_path / "new" / "folder" / "file.json"
    results.write(path, content)
    assert path.read_bytes() == expected
    assert os.listdir(path.parent) == ["file.json"]


def test_write_replaces_a_longer_file(tmp_path):
    path = tmp_path / "file.json"
    results.write(path, "a long text")
    results.write(path, "short")
    assert path.read_text() == "short"
    assert os.listdir(tmp_path) == ["file.json"]


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("before", [{}, {"file.json": "old"}], ids=["no file", "old file"])
@pytest.mark.parametrize(
    ("owner", "name", "failure", "error"),
    [
        (os, "fsync", no_space, OSError),
        (os, "fsync", interrupt, KeyboardInterrupt),
        (Path, "replace", no_space, OSError),
    ],
    ids=["full disk", "interrupt", "no rename"],
)
def test_a_failed_write_leaves_everything_as_it_was(
    tmp_path, monkeypatch, before, owner, name, failure, error
):
    for file, content in before.items():
        (tmp_path / file).write_text(content)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failure)
        with pytest.raises(error):
            results.write(tmp_path / "file.json", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(sys.platform != "linux", reason="has no device that is always full")
@pytest.mark.parametrize("folder", ["a file", "/dev/full", "/proc"])
def test_a_folder_that_cannot_be_written_is_named_in_one_sentence(folder, tmp_path):
    (tmp_path / "a file").touch()
    path = tmp_path / folder / "results" / "file.json"
    with pytest.raises(OSError, match=r"^\S.*file.json cannot be written \(.*COURSE_BUILD_DIR$"):
        results.write(path, "new")


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses the slower of two renames")
def test_of_two_that_write_one_file_the_last_stays_whole(tmp_path):
    texts = [letter * 10**6 for letter in "abcd"]
    with ThreadPoolExecutor() as pool:
        list(pool.map(results.write, [tmp_path / "file.json"] * 40, texts * 10))
    assert (tmp_path / "file.json").read_text() in texts
    assert os.listdir(tmp_path) == ["file.json"]


# --------------------------------------------------------------------------------------- results


def test_results_are_saved_under_the_lessons_name(build):
    assert save() == build / "results" / "02_basic_autoencoder.json"


def test_results_hold_everything_that_was_measured_and_how():
    content = saved()
    assert content["lesson"] == "02_basic_autoencoder"
    assert (content["dataset"], content["source"]) == ("mnist", "sample")
    assert content["parameters"] == {
        "code_size": 100,
        "noise": 0.1,
        "units": [3, 2],
        "source": "auto",
    }
    assert content["numbers"] == {"loss": 1.5}
    assert content["claims"] == [
        {
            "claim": "PCA is a bound",
            "reported": "",
            "measured": "9.1 per image",
            "verdict": "holds",
        }
    ]
    assert {"python", "tensorflow", "keras", "numpy", "scikit-learn"} == set(content["versions"])
    assert content["versions"]["numpy"] == np.__version__
    assert 0 < content["seconds"] < 3600
    assert 50 < content["peak_mib"] < 20_000
    assert "processors" in content["machine"]


def test_saving_again_replaces_the_results():
    save(numbers={"loss": 1.5, "error": 2.0})
    assert saved(numbers={"loss": 3.0})["numbers"] == {"loss": 3.0}


def test_numpy_values_become_plain_numbers():
    numbers = {
        "float32": np.float32(0.5),
        "int64": np.int64(7),
        "array": np.array([1.5, 2.5], np.float32),
        "matrix": np.arange(4).reshape(2, 2),
        "scalar array": np.array(2.0),
        "list": [np.float64(1.5), 2],
        "tuple": (1, 2.5),
        "int": 3,
    }
    assert saved(numbers=numbers)["numbers"] == {
        "float32": 0.5,
        "int64": 7,
        "array": [1.5, 2.5],
        "matrix": [[0, 1], [2, 3]],
        "scalar array": 2.0,
        "list": [1.5, 2],
        "tuple": [1, 2.5],
        "int": 3,
    }


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        np.float32("nan"),
        [1.0, float("nan")],
        np.array([[1.0, np.inf]]),
    ],
)
def test_a_number_that_is_none_is_refused_by_name_and_the_old_results_stay(value):
    path = save()
    old = path.read_bytes()
    expected = r"number broken: expected a finite number, received (nan|-?inf)"
    with pytest.raises(ValueError, match=expected):
        save(numbers={"loss": 1.0, "broken": value})
    assert path.read_bytes() == old


def test_a_refused_number_leaves_no_file(build):
    with pytest.raises(ValueError, match="finite"):
        save(numbers={"broken": float("nan")})
    assert not build.exists()


def test_text_stays_readable(build):
    claims = [results.Claim("Größe ≥ 5", "", "1 % – 2 %", "holds")]
    text = save(claims=claims).read_text(encoding="utf-8")
    assert "Größe ≥ 5" in text
    assert "1 % – 2 %" in text
    assert text.endswith("}\n")


def test_a_table_has_a_row_for_every_claim():
    claims = [CLAIM, results.Claim("faster", "96.4 %", "95.0 % (n = 10)", "not here")]
    table = results.table(claims).data
    assert table.count("<tr>") == 3
    for text in ("claim", "reported", "measured here", "verdict", "96.4 %", "95.0 % (n = 10)"):
        assert text in table
    assert table.index("PCA is a bound") < table.index("faster")


def test_a_claim_without_a_source_is_the_courses_own():
    assert "—" in results.table([CLAIM]).data


def test_a_table_is_shown_by_jupyter_as_html():
    assert "<table>" in results.table([CLAIM])._repr_html_()


def test_a_table_escapes_what_html_would_read():
    table = results.table([results.Claim("a < b & <script>", "x > y", "<b>1</b>", "holds")]).data
    assert "a &lt; b &amp; &lt;script&gt;" in table
    assert "&lt;b&gt;1&lt;/b&gt;" in table
    assert "<script>" not in table
    assert "<b>" not in table


def test_a_table_keeps_numbers_as_they_were_written():
    table = results.table([results.Claim("accuracy", "0.90", "1.500", "1e3")]).data
    for text in ("0.90", "1.500", "1e3"):
        assert f">{text}<" in table.replace(" ", "")


# ------------------------------------------------------------------------------------- reference


def test_the_published_reference_results_can_be_read():
    paths = sorted((results.ROOT / "data" / "reference").glob("*.json"))
    assert paths
    for path in paths:
        lesson, dataset = re.fullmatch(r"(\d\d.+?)_(mnist|fashion_mnist)", path.stem).groups()
        assert results.reference_path(lesson, dataset) == path
        reference = results.reference(lesson, dataset)
        assert (reference.dataset, reference.source) == (dataset, "full")
        count = len(reference.seeds)
        assert {len(values) for values in reference.numbers.values()} == {count}


def test_where_there_are_no_reference_results_there_is_none():
    assert results.reference("05_comparison", "cifar") is None


@pytest.mark.parametrize("content", ["", "{}", '{"dataset": "mnist"}', "[1]"])
def test_damaged_reference_results_are_named(content, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    results.write(results.reference_path("05_comparison", "mnist"), content)
    with pytest.raises(ValueError, match=r"05_comparison_mnist.json: expected reference results"):
        results.reference("05_comparison", "mnist")
