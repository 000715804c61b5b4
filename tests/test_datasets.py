import dataclasses
import gzip
import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from helpers import datasets, files

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = datasets._FILES
HERE = Path(__file__).resolve().parent
DATA_DIR = files.ROOT / (os.environ.get("COURSE_DATA_DIR") or "data")


def idx(array: np.ndarray) -> bytes:
    magic = {1: 2049, 3: 2051}[array.ndim]
    header = np.array([magic, *array.shape], ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def tiny_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (24, 28, 28), np.uint8),
        "train_labels": np.arange(24, dtype=np.uint8) % 10,
        "test_images": rng.integers(0, 256, (12, 28, 28), np.uint8),
        "test_labels": np.arange(12, dtype=np.uint8) % 10,
    }


def tiny_files() -> dict[str, bytes]:
    arrays = tiny_arrays().values()
    return {file: idx(a) for file, a in zip(datasets._FILES, arrays, strict=True)}


def compressed(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {name: gzip.compress(content, mtime=0) for name, content in contents.items()}


def put(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


Answer = Callable[[BaseHTTPRequestHandler, str], None]


class Mirror:
    """A server on this machine; ``answer`` decides what it says, ``asked`` is what it heard."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1]
                mirror.asked.append(name)
                answer(self, name)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def good(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, compressed(tiny_files())[name])


def not_found(handler: BaseHTTPRequestHandler, name: str) -> None:
    handler.send_error(404)


def overloaded(handler: BaseHTTPRequestHandler, name: str) -> None:
    handler.send_error(503)


def garbage(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, b"<!DOCTYPE html><title>Please log in</title>")


def cut_gzip(handler: BaseHTTPRequestHandler, name: str) -> None:
    body = compressed(tiny_files())[name]
    send(handler, body[: len(body) // 2])


def cut_transfer(handler: BaseHTTPRequestHandler, name: str) -> None:
    body = compressed(tiny_files())[name]
    send(handler, body[: len(body) // 2], length=len(body))


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.delenv("COURSE_DATA_DIR", raising=False)
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "*")
    monkeypatch.setattr(datasets, "_PAUSE", 0.0)


@pytest.fixture
def start() -> Iterator[Callable[[Answer], Mirror]]:
    running: list[Mirror] = []

    def start(answer: Answer) -> Mirror:
        running.append(Mirror(answer))
        return running[-1]

    yield start
    for mirror in running:
        mirror.close()


@pytest.fixture
def dead() -> str:
    """Address at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


@pytest.fixture
def use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[list[str], dict[str, bytes] | None], Path]:
    """Replace MNIST by the tiny data, to be had from the given mirrors."""

    def use(mirrors: list[str], contents: dict[str, bytes] | None = None) -> Path:
        contents = contents or tiny_files()
        origin = dataclasses.replace(
            datasets._ORIGINS["mnist"],
            mirrors=tuple(mirrors),
            sha256=tuple(hashlib.sha256(contents[f]).hexdigest() for f in datasets._FILES),
        )
        monkeypatch.setitem(datasets._ORIGINS, "mnist", origin)
        monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "data"))
        return tmp_path / "data" / "mnist"

    return use


def assert_tiny(dataset: datasets.Dataset) -> None:
    assert dataset.source == "full"
    for part, array in tiny_arrays().items():
        np.testing.assert_array_equal(getattr(dataset, part), array)


# --- IDX files ------------------------------------------------------------------------------


def parsed(raw: bytes) -> np.ndarray:
    return datasets._parse_idx(datasets._decompress(raw))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (0,)])
def test_idx(shape: tuple[int, ...], pack: Callable[[bytes], bytes]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    found = parsed(pack(idx(array)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array, strict=True)


IMAGES = idx(np.ones((2, 28, 28)))
PACKED = gzip.compress(IMAGES, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x0d\x03" + IMAGES[4:], r"magic number 2049 .* or 2051 .*\\r\\x03"),
        (b"\0\0\x08\x02" + IMAGES[4:], "magic number"),
        (b"<!DOCTYPE html>", r"found 15 bytes that start with b'<!DO'"),
        (b"", "found 0 bytes"),
        (b"\x08\x03", "found 2 bytes"),
        (IMAGES[:9], "header of 16 bytes, found 9"),
        (IMAGES[:-1], r"expected 1,584 bytes .*\(2, 28, 28\).* found 1,583"),
        (IMAGES + b"\0", "found 1,585"),
        (gzip.compress(IMAGES[:-1], mtime=0), "found 1,583"),
        (PACKED[: len(PACKED) // 2], "complete gzip file, found one that ends early"),
        (PACKED[:5], "ends early"),
        (PACKED[:-8] + b"\1" * 8, "damaged"),
        (PACKED + b"more", "damaged"),
        (b"\x1f\x8b\x08" + b"\0" * 7 + b"\xff" * 30, "damaged"),
    ],
)
def test_idx_that_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsed(content)


# --- What is asked for ----------------------------------------------------------------------


def test_images_file_of_complete_data_is_the_file_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = compressed(tiny_files())
    put(tmp_path / "mnist", contents)
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    dataset = datasets.Dataset("mnist", "MNIST", "full", (), **tiny_arrays())
    assert datasets.images_file(dataset) == contents[TRAIN_IMAGES]


def test_images_file_is_compressed_where_a_browser_has_unpacked_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = {name: gzip.decompress(raw) for name, raw in compressed(tiny_files()).items()}
    put(tmp_path / "mnist", unpacked)
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    dataset = datasets.Dataset("mnist", "MNIST", "full", (), **tiny_arrays())
    assert gzip.decompress(datasets.images_file(dataset)) == unpacked[TRAIN_IMAGES]


def test_images_file_of_the_sample_has_the_same_format() -> None:
    dataset = datasets.Dataset("mnist", "MNIST", "sample", (), **tiny_arrays())
    packed = datasets.images_file(dataset)
    assert gzip.decompress(packed) == idx(dataset.train_images)
    np.testing.assert_array_equal(parsed(packed), dataset.train_images)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="expected one of mnist, fashion_mnist, received 'cifar'"):
        datasets.load("cifar")


def test_unknown_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"argument source: .*full, sample, auto, received 'all'"):
        datasets.load("mnist", "all")
    monkeypatch.setenv("COURSE_DATA", "Full")
    with pytest.raises(ValueError, match=r"variable COURSE_DATA: .*received 'Full'"):
        datasets.load("mnist")


def test_argument_beats_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_DATA", "full")
    assert datasets.load("mnist", "sample").source == "sample"


def test_complete_files_need_no_network(
    use: Callable, dead: str, capfd: pytest.CaptureFixture
) -> None:
    put(use([dead]), compressed(tiny_files()))
    assert_tiny(datasets.load("mnist"))
    assert tuple(capfd.readouterr()) == ("MNIST, complete: 24 training and 12 test images.\n", "")


def test_relative_folder_counts_from_the_course(
    use: Callable, dead: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(use([dead]), compressed(tiny_files()))
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setenv("COURSE_DATA_DIR", "data")
    assert_tiny(datasets.load("mnist", "full"))


# --- Downloads ------------------------------------------------------------------------------


def test_download(use: Callable, start: Callable, capfd: pytest.CaptureFixture) -> None:
    mirror = start(good)
    folder = use([mirror.url])
    assert_tiny(datasets.load("mnist", "full"))
    assert listing(folder) == sorted(datasets._FILES)
    assert capfd.readouterr().err == ""
    assert_tiny(datasets.load("mnist", "full"))
    assert mirror.asked == list(datasets._FILES)


def test_only_what_is_missing_is_downloaded(use: Callable, start: Callable) -> None:
    mirror = start(good)
    folder = use([mirror.url])
    put(folder, compressed(tiny_files()))
    (folder / TEST_IMAGES).unlink()
    assert_tiny(datasets.load("mnist", "full"))
    assert mirror.asked == [TEST_IMAGES]


def test_progress_is_shown_to_people(
    use: Callable, start: Callable, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("helpers.progress.is_headless", lambda: False)
    use([start(good).url])
    assert_tiny(datasets.load("mnist", "full"))
    assert TRAIN_IMAGES in capfd.readouterr().err


@pytest.mark.parametrize("first", [not_found, overloaded, garbage, cut_gzip, cut_transfer])
def test_second_mirror_is_used(use: Callable, start: Callable, first: Answer) -> None:
    mirrors = [start(first), start(good)]
    folder = use([mirror.url for mirror in mirrors])
    assert_tiny(datasets.load("mnist", "full"))
    assert listing(folder) == sorted(datasets._FILES)
    assert mirrors[0].asked == mirrors[1].asked == list(datasets._FILES)


@pytest.mark.parametrize(
    ("answer", "attempts", "message"),
    [
        (not_found, 1, "answers with HTTP status 404"),
        (overloaded, 2, "answers with HTTP status 503"),
        (garbage, 2, "sent a wrong file .*SHA-256"),
        (cut_gzip, 2, "sent a wrong file .*ends early"),
        (cut_transfer, 2, "broke off the transfer"),
    ],
)
def test_failed_download_leaves_nothing(
    use: Callable, start: Callable, answer: Answer, attempts: int, message: str
) -> None:
    mirror = start(answer)
    folder = use([mirror.url])
    with pytest.raises(OSError, match=f"{TRAIN_IMAGES} is missing.*127.0.0.1 {message}"):
        datasets.load("mnist", "full")
    assert listing(folder) == []
    assert mirror.asked == [TRAIN_IMAGES] * attempts


def test_second_round_helps(use: Callable, start: Callable) -> None:
    seen: set[str] = set()

    def first_overloaded(handler: BaseHTTPRequestHandler, name: str) -> None:
        answer = good if name in seen else overloaded
        seen.add(name)  # before it answers, as the next request may come at once
        answer(handler, name)

    use([start(first_overloaded).url])
    assert_tiny(datasets.load("mnist", "full"))


def test_silent_server_is_given_up(
    use: Callable, start: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "_TIMEOUT", (0.2, 0.2))
    use([start(lambda handler, name: time.sleep(0.5)).url])
    with pytest.raises(OSError, match="broke off the transfer"):
        datasets.load("mnist", "full")


def test_interrupt_leaves_nothing(use: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = use(["http://127.0.0.1/"])

    def interrupted(self: object, url: str, output_file: str, pooch: object) -> None:
        Path(output_file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("mnist", "auto")
    assert listing(folder) == []


def test_no_network(use: Callable, dead: str, capfd: pytest.CaptureFixture) -> None:
    folder = use([dead, dead.replace("127.0.0.1", "mirror.invalid")])
    dataset = datasets.load("mnist")
    assert dataset.source == "sample"
    out, err = capfd.readouterr()
    assert err == ""
    assert out == (
        "MNIST, SAMPLE only: 4,000 training and 1,000 test images, because "
        f"{TRAIN_IMAGES} is missing in {folder} and cannot be downloaded: 127.0.0.1 cannot be "
        "reached; mirror.invalid cannot be reached. "
        "Numbers will differ from those of the complete data.\n"
    )
    with pytest.raises(OSError, match=r"COURSE_DATA_DIR .*COURSE_DATA=sample") as caught:
        datasets.load("mnist", "full")
    assert all(name in str(caught.value) for name in (*datasets._FILES, str(folder)))


def test_two_at_once(use: Callable, start: Callable) -> None:
    together = threading.Barrier(2, timeout=60)

    def slow(handler: BaseHTTPRequestHandler, name: str) -> None:
        if name == TRAIN_IMAGES:
            together.wait()
        good(handler, name)

    folder = use([start(slow).url])
    with ThreadPoolExecutor() as pool:
        for dataset in pool.map(datasets.load, ["mnist"] * 2, ["full"] * 2):
            assert_tiny(dataset)
    assert listing(folder) == sorted(datasets._FILES)


# --- Files that are wrong -------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        gzip.compress(idx(np.zeros((24, 28, 28)))),
        compressed(tiny_files())[TRAIN_IMAGES][:-100],
        b"<!DOCTYPE html>",
        b"",
    ],
    ids=["other content", "half gzip", "no gzip", "empty"],
)
def test_wrong_file_is_replaced(use: Callable, start: Callable, wrong: bytes) -> None:
    mirror = start(good)
    folder = use([mirror.url])
    put(folder, {**compressed(tiny_files()), TRAIN_IMAGES: wrong})
    assert_tiny(datasets.load("mnist", "full"))
    assert (folder / f"{TRAIN_IMAGES}.corrupt").read_bytes() == wrong
    assert mirror.asked == [TRAIN_IMAGES]


def test_wrong_file_without_network(
    use: Callable, dead: str, capsys: pytest.CaptureFixture
) -> None:
    folder = use([dead])
    put(folder, {**compressed(tiny_files()), TEST_LABELS: b"?"})
    assert datasets.load("mnist", "auto").source == "sample"
    assert f"because {TEST_LABELS} in {folder} is damaged" in capsys.readouterr().out
    assert f"{TEST_LABELS}.corrupt" in listing(folder)
    with pytest.raises(OSError, match=f"{TEST_LABELS} is missing"):
        datasets.load("mnist", "full")


def test_read_only_folder(
    use: Callable, start: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    mirror = start(good)
    folder = use([mirror.url])
    monkeypatch.setattr(datasets.tempfile, "TemporaryDirectory", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match=r"is missing .*folder cannot be written \(Permission"):
        datasets.load("mnist", "full")
    put(folder, {**compressed(tiny_files()), TRAIN_IMAGES: b"?"})
    with pytest.raises(OSError, match=r"damaged .*cannot be set aside: the folder cannot be writ"):
        datasets.load("mnist", "full")
    assert datasets.load("mnist", "auto").source == "sample"
    assert "the folder cannot be written" in capsys.readouterr().out
    assert mirror.asked == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write anywhere")
def test_folder_without_write_permission(use: Callable, start: Callable) -> None:
    folder = use([start(good).url])
    put(folder, {TRAIN_IMAGES: b"?"})
    folder.chmod(0o555)
    try:
        with pytest.raises(OSError, match="cannot be set aside: the folder cannot be written"):
            datasets.load("mnist", "full")
    finally:
        folder.chmod(0o755)


def test_folder_that_is_a_file(use: Callable, dead: str) -> None:
    folder = use([dead])
    folder.parent.write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot be read|cannot be written"):
        datasets.load("mnist", "full")


BAD_STRUCTURES = [
    ("train_images", np.zeros((24, 28, 27), np.uint8), r"found \(24, 28, 27\) uint8"),
    ("train_images", np.zeros((23, 28, 28), np.uint8), r"\(23, 28, 28\) uint8 and \(24,\)"),
    ("test_labels", np.zeros(13, np.uint8), r"\(12, 28, 28\) uint8 and \(13,\)"),
    ("test_labels", np.full(12, 10, np.uint8), "test_labels from 0 to 9, found 10"),
    ("train_labels", np.zeros(0, np.uint8), r"and \(0,\) uint8"),
]


@pytest.mark.parametrize(("part", "array", "message"), BAD_STRUCTURES)
def test_structure_of_full(
    use: Callable, dead: str, part: str, array: np.ndarray, message: str
) -> None:
    position = datasets._PARTS.index(part)
    contents = {**tiny_files(), datasets._FILES[position]: idx(array)}
    put(use([dead], contents), compressed(contents))
    with pytest.raises(ValueError, match=message) as caught:
        datasets.load("mnist")
    assert ("train-" if "train" in part else "t10k-") in str(caught.value)


@pytest.mark.parametrize(
    ("part", "array", "message"),
    [*BAD_STRUCTURES, ("test_images", np.zeros((12, 28, 28)), r"found \(12, 28, 28\) float64")],
)
def test_structure_of_sample(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str, array: np.ndarray, message: str
) -> None:
    path = tmp_path / "data" / "sample" / "mnist.npz"
    path.parent.mkdir(parents=True)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    np.savez(path, **{**tiny_arrays(), part: array})
    with pytest.raises(ValueError, match=f"data/sample/mnist.npz: .*{message}"):
        datasets.load("mnist", "sample")


# --- The sample -----------------------------------------------------------------------------


def test_damaged_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "ROOT", tmp_path)
    path = tmp_path / "data" / "sample" / "mnist.npz"
    with pytest.raises(FileNotFoundError, match=r"data/sample/mnist.npz: .*git checkout"):
        datasets.load("mnist", "sample")
    path.parent.mkdir(parents=True)
    whole = (HERE.parent / "data" / "sample" / "mnist.npz").read_bytes()
    for content in (b"", b"version https://git-lfs", whole[:5000], whole.replace(b"\n", b"\r\n")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data/sample/mnist.npz: expected .*git checkout"):
            datasets.load("mnist", "sample")
    np.savez(path, **{**tiny_arrays(), "test_labels": np.array([{}])})  # needs pickle
    with pytest.raises(ValueError, match="different file"):
        datasets.load("mnist", "sample")


@pytest.mark.parametrize("name", datasets.NAMES)
def test_sample(name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("COURSE_DATA", "sample")
    dataset = datasets.load(name)
    assert tuple(capfd.readouterr()) == (
        f"{dataset.title}, SAMPLE only: 4,000 training and 1,000 test images, because the sample "
        "was asked for. Numbers will differ from those of the complete data.\n",
        "",
    )
    assert (dataset.name, dataset.source, len(dataset.class_names)) == (name, "sample", 10)
    assert (dataset.train_images.shape, dataset.test_images.shape) == (
        (4000, 28, 28),
        (1000, 28, 28),
    )
    assert (np.bincount(dataset.train_labels) == 400).all()
    assert (np.bincount(dataset.test_labels) == 100).all()
    # In random order: a class does not come all at once.
    assert len(set(dataset.train_labels[:100])) == 10
    # Real images: all different, the whole range of grey, most of it background.
    images = np.concatenate([dataset.train_images, dataset.test_images])
    assert len(np.unique(images.reshape(5000, -1), axis=0)) == 5000
    assert (images.min(), images.max()) == (0, 255)
    assert 0.45 < (images == 0).mean() < 0.85
    # Their labels too: the nearest class mean is right far more often than by chance.
    flat = dataset.train_images.reshape(4000, -1).astype(float)
    means = np.stack([flat[dataset.train_labels == c].mean(0) for c in range(10)])
    tests = dataset.test_images.reshape(1000, 1, -1).astype(float)
    nearest = np.stack([((image - means) ** 2).sum(1).argmin() for image in tests])
    assert (nearest == dataset.test_labels).mean() > 0.6


@pytest.mark.parametrize("source", ["full", "sample"])
def test_arrays_are_read_only(use: Callable, dead: str, source: str) -> None:
    put(use([dead]), compressed(tiny_files()))
    dataset = datasets.load("mnist", source)
    for part in datasets._PARTS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(dataset, part)[0] = 0


@pytest.mark.parametrize("name", datasets.NAMES)
def test_sample_is_what_the_script_draws(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = DATA_DIR / datasets._ORIGINS[name].folder
    if not all((folder / file).exists() for file in datasets._FILES):
        pytest.skip("the complete data are not on this machine")
    monkeypatch.setenv("COURSE_DATA_DIR", str(DATA_DIR))
    spec = importlib.util.spec_from_file_location(
        "draw_sample", HERE.parent / "data" / "draw_sample.py"
    )
    draw_sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw_sample)
    full, sample = datasets.load(name, "full"), datasets.load(name, "sample")
    assert (full.train_images.shape, full.test_images.shape) == ((60000, 28, 28), (10000, 28, 28))
    for part, array in draw_sample.draw(full).items():
        np.testing.assert_array_equal(getattr(sample, part), array, strict=True)


# --- Splits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", datasets.NAMES)
def test_split(name: str) -> None:
    dataset = datasets.load(name, "sample")
    splits = datasets.split(dataset)
    images = dataset.train_images.reshape(-1, 784) / np.float32(255)
    labels = dataset.train_labels.astype(np.int32)
    tests = dataset.test_images.reshape(-1, 784) / np.float32(255)
    expected = {
        "validation": (images[:333], labels[:333]),
        "train": (images[333:], labels[333:]),
        "test": (tests, dataset.test_labels.astype(np.int32)),
    }
    for part, (part_images, part_labels) in expected.items():
        found = getattr(splits, part)
        np.testing.assert_array_equal(found.images, part_images, strict=True)
        np.testing.assert_array_equal(found.labels, part_labels, strict=True)
        assert (found.images.min(), found.images.max()) == (0, 1)


def test_split_sizes_of_the_complete_data() -> None:
    labels = np.zeros(60000, np.uint8)
    images = np.broadcast_to(np.uint8(255), (60000, 28, 28))
    dataset = datasets.Dataset(
        "mnist", "MNIST", "full", (), images, labels, images[:10000], labels[:10000]
    )
    splits = datasets.split(dataset)
    sizes = [len(part.labels) for part in (splits.train, splits.validation, splits.test)]
    assert sizes == [55000, 5000, 10000]


# --- The module -----------------------------------------------------------------------------


def test_no_tensorflow() -> None:
    code = "import sys, helpers.datasets; print('tensorflow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_mirrors_use_tls() -> None:
    for origin in datasets._ORIGINS.values():
        assert len(origin.mirrors) >= 2
        assert all(m.startswith("https://") and m.endswith("/") for m in origin.mirrors)


def test_images_begin_where_tensorflow_need_not_copy_them() -> None:
    splits = datasets.split(datasets.load("mnist", source="sample"))
    for part in (splits.train, splits.validation, splits.test):
        assert part.images.ctypes.data % 64 == 0
        assert part.images.flags.c_contiguous
