"""Verified arrays out of files that are whole, missing, wrong, or on mirrors of all kinds."""

import dataclasses
import gzip
import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch
import pytest
from conftest import AS_ANYBODY

from helpers import datasets

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = datasets._FILES
ROOT = datasets._ROOT
posix = pytest.mark.skipif(os.name != "posix", reason="limits and kills processes as POSIX does")
DATA_DIR = ROOT / (os.environ.get("COURSE_DATA_DIR") or "data")


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


TINY = {file: idx(a) for file, a in zip(datasets._FILES, tiny_arrays().values(), strict=True)}


PACKED = {file: gzip.compress(content, mtime=0) for file, content in TINY.items()}


def put(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def assert_tiny(dataset: datasets.Dataset) -> None:
    assert dataset.source == "full"
    for part, array in tiny_arrays().items():
        np.testing.assert_array_equal(getattr(dataset, part), array)


def send(handler: BaseHTTPRequestHandler, body: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def good(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, PACKED[name])


BAD_ANSWERS = {  # how often such a mirror is asked, and what is said of it
    (lambda handler, name: handler.send_error(404)): (1, "answers with HTTP status 404"),
    (lambda handler, name: handler.send_error(503)): (2, "answers with HTTP status 503"),
    (lambda handler, name: send(handler, b"<html>")): (2, "sent a wrong file .*SHA-256"),
    (lambda handler, name: send(handler, PACKED[name][:20])): (2, "sent a wrong .*ends early"),
    (lambda handler, name: send(handler, b"?", length=99)): (2, "broke off the transfer"),
    (lambda handler, name: time.sleep(0.5)): (2, "broke off the transfer"),
}
*QUICK, SILENT = BAD_ANSWERS


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    for name in os.environ:
        if name.startswith("COURSE_DATA") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(datasets, "_PAUSE", 0.0)


@pytest.fixture
def start():
    """Return a function that starts a mirror, which has a ``url`` and keeps what it was asked."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[..., None]) -> SimpleNamespace:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1]
                asked.append(name)
                answer(self, name)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/", asked=asked)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def dead() -> str:
    """Return an address at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


@pytest.fixture
def use(monkeypatch, tmp_path) -> Callable[..., Path]:
    """Return a function that replaces MNIST by tiny data, to be had from the given mirrors."""

    def use(*mirrors: str) -> Path:
        hashes = tuple(hashlib.sha256(content).hexdigest() for content in TINY.values())
        origin = datasets._ORIGINS["mnist"]
        origin = dataclasses.replace(origin, mirrors=mirrors, sha256=hashes)
        monkeypatch.setitem(datasets._ORIGINS, "mnist", origin)
        monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "data"))
        return tmp_path / "data" / "mnist"

    return use


@pytest.fixture
def sample(monkeypatch, tmp_path) -> Path:
    """Return where a sample of MNIST may be put in place of the real one."""
    monkeypatch.setattr(datasets, "_ROOT", tmp_path)
    put(tmp_path / "data" / "sample", {})
    return tmp_path / "data" / "sample" / "mnist.npz"


IMAGES = idx(np.ones((2, 28, 28)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_may_come_through_any_gzip_or_none(pack):
    content = datasets._verify(pack(IMAGES), hashlib.sha256(IMAGES).hexdigest())
    expected = np.ones((2, 28, 28), np.uint8)
    np.testing.assert_array_equal(datasets._parse_idx(content), expected, strict=True)


ZIPPED = gzip.compress(IMAGES, mtime=0)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (ZIPPED[: len(ZIPPED) // 2], "complete gzip file, found one that ends early"),
        (ZIPPED[:-8] + b"\1" * 8, "damaged"),
        (b"\x1f\x8b\x08" + b"\0" * 7 + b"\xff" * 30, "damaged"),
        (gzip.compress(IMAGES[:-1]), r"expected content with SHA-256 \w{12}…, found \w{12}…"),
    ],
    ids=["half", "changed at the end", "no gzip inside", "other content"],
)
def test_content_that_is_refused(raw, message):
    with pytest.raises(ValueError, match=message):
        datasets._verify(raw, hashlib.sha256(IMAGES).hexdigest())


def test_a_gzip_file_that_unpacks_to_gigabytes_is_refused_within_bounds():
    bomb = gzip.compress(bytes(2**23)) * 256  # 2 GiB
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected content with SHA-256"):
        datasets._verify(bomb, hashlib.sha256(IMAGES).hexdigest())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * datasets._LARGEST
    assert max(map(len, TINY.values())) < 47_040_016 < datasets._LARGEST


def test_images_file_is_the_file_or_packed_as_if_it_were(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    full = datasets.Dataset("mnist", "MNIST", "full", (), **tiny_arrays())
    put(tmp_path / "mnist", PACKED)
    assert datasets.images_file(full) == PACKED[TRAIN_IMAGES]
    put(tmp_path / "mnist", TINY)  # as a browser unpacks it
    for dataset in (full, dataclasses.replace(full, source="sample")):
        assert gzip.decompress(datasets.images_file(dataset)) == TINY[TRAIN_IMAGES]


@pytest.mark.parametrize(
    ("arguments", "variable", "message"),
    [
        (["cifar"], "full", "expected one of mnist, fashion_mnist, received 'cifar'"),
        (["mnist", "all"], "full", r"argument source: .*full, sample, auto, received 'all'"),
        (["mnist"], "Full", r"variable COURSE_DATA: .*received 'Full'"),
    ],
)
def test_unknown_words(monkeypatch, arguments, variable, message):
    monkeypatch.setenv("COURSE_DATA", variable)
    with pytest.raises(ValueError, match=message):
        datasets.load(*arguments)


def test_complete_files_need_no_network(use, dead, capfd, monkeypatch, tmp_path):
    put(use(dead), PACKED)
    assert_tiny(datasets.load("mnist"))
    assert tuple(capfd.readouterr()) == ("MNIST, complete: 24 training and 12 test images.\n", "")
    # A relative folder counts from the course's.
    monkeypatch.setattr(datasets, "_ROOT", tmp_path)
    monkeypatch.setenv("COURSE_DATA_DIR", "data")
    assert_tiny(datasets.load("mnist", "full"))


def test_what_is_missing_is_downloaded_once(use, start, monkeypatch, capfd):
    mirror = start(good)
    folder = use(mirror.url)
    for _ in range(2):
        assert_tiny(datasets.load("mnist", "full"))
        assert mirror.asked == list(datasets._FILES)
    assert listing(folder) == sorted(datasets._FILES)
    assert capfd.readouterr().err == ""
    (folder / TEST_IMAGES).unlink()
    monkeypatch.setattr("helpers.progress.is_headless", lambda: False)
    assert_tiny(datasets.load("mnist", "full"))
    assert mirror.asked == [*datasets._FILES, TEST_IMAGES]
    assert TEST_IMAGES in capfd.readouterr().err  # progress, for people


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_failed_download_leaves_nothing(use, start, monkeypatch, answer):
    if answer is SILENT:
        monkeypatch.setattr(datasets, "_TIMEOUT", (0.2, 0.2))
    attempts, message = BAD_ANSWERS[answer]
    mirror = start(answer)
    folder = use(mirror.url)
    with pytest.raises(OSError, match=f"{TRAIN_IMAGES} is missing.*127.0.0.1 {message}"):
        datasets.load("mnist", "full")
    assert listing(folder) == []
    assert mirror.asked == [TRAIN_IMAGES] * attempts


@pytest.mark.parametrize("first", QUICK)
def test_second_mirror_is_used(use, start, first):
    mirrors = [start(first), start(good)]
    use(*(mirror.url for mirror in mirrors))
    assert_tiny(datasets.load("mnist", "full"))
    assert mirrors[0].asked == mirrors[1].asked == list(datasets._FILES)


def test_second_round_helps(use, start):
    def overloaded_at_first(handler: BaseHTTPRequestHandler, name: str) -> None:
        good(handler, name) if mirror.asked.count(name) > 1 else handler.send_error(503)

    mirror = start(overloaded_at_first)
    use(mirror.url)
    assert_tiny(datasets.load("mnist", "full"))


def test_interrupt_leaves_nothing(use, monkeypatch):
    folder = use("http://127.0.0.1/")

    def interrupted(self: object, url: str, output_file: str, pooch: object) -> None:
        Path(output_file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("mnist", "auto")
    assert listing(folder) == []


def test_no_network(use, dead, capfd):
    folder = use(dead, dead.replace("127.0.0.1", "mirror.invalid"))
    assert datasets.load("mnist").source == "sample"
    assert tuple(capfd.readouterr()) == (
        "MNIST, SAMPLE only: 4,000 training and 1,000 test images, because "
        f"{TRAIN_IMAGES} is missing in {folder} and cannot be downloaded: 127.0.0.1 cannot be "
        "reached; mirror.invalid cannot be reached. "
        "Numbers will differ from those in the text: it speaks of the complete data.\n",
        "",
    )
    with pytest.raises(OSError, match=r"COURSE_DATA_DIR .*COURSE_DATA=sample") as caught:
        datasets.load("mnist", "full")
    assert all(name in str(caught.value) for name in (*datasets._FILES, str(folder)))


@pytest.mark.parametrize("proxy", ["nonsense", ":::", "ftp://a", "http://a b", "http://[::1"])
def test_proxies_set_to_nonsense_are_said(use, monkeypatch, proxy):
    use("https://mirror.invalid/")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("https_proxy", proxy)
    message = "mirror.invalid cannot be (reached|asked, since a proxy is set wrongly)"
    with pytest.raises(OSError, match=message):
        datasets.load("mnist", "full")


CHILD = """
import dataclasses, json, resource, sys
from helpers import datasets
mirror, hashes, most, source = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
origin = dataclasses.replace(datasets._ORIGINS["mnist"], mirrors=(mirror,), sha256=hashes)
datasets._ORIGINS["mnist"] = origin
datasets.load("mnist", source)
"""


def child(
    mirror: str, most: int = 10**6, source: str = "full", before: Sequence[object] = ()
) -> subprocess.Popen:
    """Load the tiny data in a process of its own, in which a file has at most so many bytes."""
    arguments = json.dumps([mirror, datasets._ORIGINS["mnist"].sha256, most, source])
    command = [*before, sys.executable, "-c", CHILD, arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


MOUNTED = 'mount -t tmpfs -o size=8k none "$0" && "$@" && exit; code=$?; ls -A "$0"/*; exit $code'
"""A file system of two pages, seen by one command only; says what that has left there."""


@posix
@pytest.mark.parametrize("limit", ["of a file", "of the disk"])
def test_a_full_disk_is_said_and_leaves_nothing(use, start, limit):
    mirror = start(good)
    folder = use(mirror.url)
    if limit == "of a file":
        process, why = child(mirror.url, most=1000), "File too large"
    elif shutil.which("unshare") and subprocess.run(["unshare", "--mount", "true"]).returncode == 0:
        folder.parent.mkdir()
        before = ("unshare", "--mount", "sh", "-c", MOUNTED, folder.parent)
        process, why = child(mirror.url, before=before), "No space left on device"
    else:
        pytest.skip("only Linux's root mounts a disk")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"OSError: {TRAIN_IMAGES} is missing" in said
    assert said.endswith("set COURSE_DATA=sample\n"), said
    assert f"the folder cannot be written ({why})" in said
    assert listing(folder) == []


def test_a_file_is_renamed_into_place_when_it_is_complete(use, start):
    parts = []

    def slowly(handler: BaseHTTPRequestHandler, name: str) -> None:
        half = len(PACKED[name]) // 2
        send(handler, PACKED[name][:half], length=len(PACKED[name]))
        while not (found := list(folder.glob(".download-*/*"))):
            time.sleep(0.01)
        assert not (folder / name).exists()
        parts.append(found[0].stat().st_ino)
        handler.wfile.write(PACKED[name][half:])

    folder = use(start(slowly).url)
    assert_tiny(datasets.load("mnist", "full"))
    assert parts == [(folder / name).stat().st_ino for name in datasets._FILES]


@posix
def test_a_process_that_is_killed_while_it_downloads_leaves_nothing_that_is_read(use, start):
    asked = threading.Event()

    def half(handler: BaseHTTPRequestHandler, name: str) -> None:
        send(handler, PACKED[name][:1000], length=len(PACKED[name]))
        asked.set()
        time.sleep(1)

    folder = use(start(half).url)
    process = child(datasets._ORIGINS["mnist"].mirrors[0])
    assert asked.wait(60)
    process.kill()
    process.communicate()
    assert not set(datasets._FILES) & set(listing(folder))
    use(start(good).url)
    assert_tiny(datasets.load("mnist", "full"))


def test_two_at_once(use, start):
    together = threading.Barrier(2, timeout=60)

    def slow(handler: BaseHTTPRequestHandler, name: str) -> None:
        if name == TRAIN_IMAGES:
            together.wait()
        good(handler, name)

    folder = use(start(slow).url)
    with ThreadPoolExecutor() as pool:
        for dataset in pool.map(datasets.load, ["mnist"] * 2, ["full"] * 2):
            assert_tiny(dataset)
    assert listing(folder) == sorted(datasets._FILES)


@pytest.mark.parametrize(
    "wrong",
    [
        gzip.compress(idx(np.zeros((24, 28, 28)))),
        PACKED[TRAIN_LABELS],
        PACKED[TRAIN_IMAGES][:-100],
        b"<!DOCTYPE",
        b"",
    ],
    ids=["other content", "labels in place of images", "cut off", "a page", "empty"],
)
def test_wrong_file_is_set_aside_and_downloaded_again(use, start, wrong):
    mirror = start(good)
    folder = use(mirror.url)
    put(folder, {**PACKED, TRAIN_IMAGES: wrong})
    assert_tiny(datasets.load("mnist", "full"))
    assert (folder / f"{TRAIN_IMAGES}.corrupt").read_bytes() == wrong
    assert mirror.asked == [TRAIN_IMAGES]


def test_wrong_file_without_network(use, dead, capsys):
    folder = use(dead)
    put(folder, {**PACKED, TEST_LABELS: b"?"})
    assert datasets.load("mnist", "auto").source == "sample"
    assert f"because {TEST_LABELS} in {folder} is damaged" in capsys.readouterr().out
    assert f"{TEST_LABELS}.corrupt" in listing(folder)
    with pytest.raises(OSError, match=f"{TEST_LABELS} is missing"):
        datasets.load("mnist", "full")


@posix
def test_read_only_folder(use, start):
    mirror = start(good)
    folder = use(mirror.url)

    def said(source: str) -> str:
        folder.chmod(0o555)
        text, _ = child(mirror.url, source=source, before=AS_ANYBODY).communicate(timeout=60)
        folder.chmod(0o755)
        return text

    folder.mkdir(parents=True)
    why = r"the folder cannot be written \(Permission denied\)"
    assert re.search(f"OSError: .* is missing .*{why}", said("full"))
    put(folder, {**PACKED, TRAIN_IMAGES: b"?"})
    assert re.search(f"OSError: .* is damaged .*{why}", said("full"))
    assert re.search(f"^MNIST, SAMPLE only: .*{why}", said("auto"))
    assert mirror.asked == []
    assert listing(folder) == sorted(PACKED)


def test_folder_that_is_a_file(use, dead):
    use(dead).parent.write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot be read|cannot be written"):
        datasets.load("mnist", "full")


def test_damaged_sample(sample):
    whole = (ROOT / "data" / "sample" / "mnist.npz").read_bytes()
    for content in (b"", b"version https://git-lfs", whole[:5000], whole.replace(b"\n", b"\r\n")):
        sample.write_bytes(content)
        with pytest.raises(ValueError, match=r"data/sample/mnist.npz: expected .*git checkout"):
            datasets.load("mnist", "sample")
    needs_pickle = {"test_labels": np.array([{}])}
    floats = {"test_images": np.zeros((12, 28, 28))}
    one_less = {"train_images": np.zeros((23, 28, 28), np.uint8)}
    for other in (needs_pickle, floats, one_less):
        np.savez(sample, **{**tiny_arrays(), **other})
        with pytest.raises(ValueError, match="different file"):
            datasets.load("mnist", "sample")
    sample.unlink()
    with pytest.raises(FileNotFoundError, match=r"data/sample/mnist.npz: .*git checkout"):
        datasets.load("mnist", "sample")


@pytest.mark.parametrize("name", datasets.NAMES)
def test_sample(name, monkeypatch, capfd):
    monkeypatch.setenv("COURSE_DATA", "sample")
    dataset = datasets.load(name)
    assert tuple(capfd.readouterr()) == (
        f"{dataset.title}, SAMPLE only: 4,000 training and 1,000 test images, because the sample "
        "was asked for. Numbers will differ from those in the text: it speaks of the complete "
        "data.\n",
        "",
    )
    assert (dataset.name, dataset.source, len(dataset.class_names)) == (name, "sample", 10)
    train, tests = dataset.train_images, dataset.test_images
    assert (train.shape, tests.shape) == ((4000, 28, 28), (1000, 28, 28))
    for labels, count in ((dataset.train_labels, 400), (dataset.test_labels, 100)):
        assert (np.bincount(labels) == count).all()
        assert len(set(labels[:100])) == 10  # in random order: not class by class
    # Real images: all different, the whole range of grey, most of it background.
    images = np.concatenate([train, tests])
    assert len(np.unique(images.reshape(5000, -1), axis=0)) == 5000
    assert (images.min(), images.max()) == (0, 255)
    assert 0.45 < (images == 0).mean() < 0.85
    # Their labels too: the nearest class mean is right far more often than by chance.
    flat = train.reshape(4000, -1).astype(float)
    means = np.stack([flat[dataset.train_labels == c].mean(0) for c in range(10)])
    nearest = [np.square(image.ravel() - means).sum(1).argmin() for image in tests]
    assert (nearest == dataset.test_labels).mean() > 0.6


@pytest.mark.parametrize("source", ["full", "sample"])
def test_argument_beats_environment_and_arrays_are_read_only(use, dead, monkeypatch, source):
    put(use(dead), PACKED)
    monkeypatch.setenv("COURSE_DATA", {"full": "sample", "sample": "full"}[source])
    dataset = datasets.load("mnist", source)
    assert dataset.source == source
    assert not any(getattr(dataset, part).flags.writeable for part in datasets._PARTS)


@pytest.mark.parametrize("name", datasets.NAMES)
def test_sample_is_what_the_script_draws(name, monkeypatch):
    folder = DATA_DIR / name.replace("_", "-")
    if not all((folder / file).exists() for file in datasets._FILES):
        pytest.skip("the complete data are not on this machine")
    monkeypatch.setenv("COURSE_DATA_DIR", str(DATA_DIR))
    script = ROOT / "data" / "draw_sample.py"
    spec = importlib.util.spec_from_file_location("draw_sample", script)
    draw_sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw_sample)
    full, sample = datasets.load(name, "full"), datasets.load(name, "sample")
    assert (full.train_images.shape, full.test_images.shape) == ((60000, 28, 28), (10000, 28, 28))
    for part, array in draw_sample.draw(full).items():
        np.testing.assert_array_equal(getattr(sample, part), array, strict=True)


@pytest.mark.parametrize("name", datasets.NAMES)
def test_split(name):
    dataset = datasets.load(name, "sample")
    splits = datasets.split(dataset)
    images, labels = dataset.train_images, dataset.train_labels
    for found, part_images, part_labels in (
        (splits.validation, images[:333], labels[:333]),
        (splits.train, images[333:], labels[333:]),
        (splits.test, dataset.test_images, dataset.test_labels),
    ):
        scaled = part_images.reshape(-1, 784) / np.float32(255)
        np.testing.assert_array_equal(found.images, scaled, strict=True)
        np.testing.assert_array_equal(found.labels, part_labels.astype(np.int32), strict=True)
        # They lie and begin as TensorFlow wants them, so that it need not copy.
        assert (found.images.flags.c_contiguous, found.images.ctypes.data % 64) == (True, 0)


def test_mirrors_use_tls():
    for origin in datasets._ORIGINS.values():
        assert len(origin.mirrors) >= 2
        assert all(m.startswith("https://") and m.endswith("/") for m in origin.mirrors)
