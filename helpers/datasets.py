"""MNIST and Fashion-MNIST as verified NumPy arrays: complete, or as a small real sample.

The complete data are the four original IDX files of a data set.  What is trusted is their
content (SHA-256 of the uncompressed bytes), whatever mirror or gzip it came through; files that
are missing or wrong are downloaded.  ``data/README.md`` says where everything comes from.
"""

import gzip
import hashlib
import io
import os
import tempfile
import time
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pooch
import requests
from urllib3.exceptions import MaxRetryError

from helpers import progress

_ROOT = Path(__file__).resolve().parent.parent
NAMES = ("mnist", "fashion_mnist")
_SOURCES = ("full", "sample", "auto")
_PARTS = ("train_images", "train_labels", "test_images", "test_labels")
_FILES = (  # in the order of _PARTS, like all that follows about files
    *("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    *("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
)
_GZIP = b"\x1f\x8b"  # what every gzip file begins with
_LARGEST = 2**26  # bytes that are read of an unpacked file: the largest has 47,040,016
_TIMEOUT = (3, 30)  # seconds to connect, seconds without a byte
_ROUNDS = 2  # over the mirrors
_PAUSE = 1.0  # seconds between the rounds


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as it lies on disk, in read-only arrays of uint8.

    Images have shape (n, 28, 28) and grey values from 0 (background) to 255; labels have shape
    (n,) and are classes from 0 to 9, the positions of their names in ``class_names``.
    """

    name: str  # "mnist" or "fashion_mnist"
    title: str  # "MNIST" or "Fashion-MNIST"
    source: str  # "full" or "sample"
    class_names: tuple[str, ...]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Split:
    """Images, shape (n, 784), float32, 0 to 1; their labels, shape (n,), int32, 0 to 9."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Splits:
    """The three splits: to learn from, to choose by, and to report on once."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class _Origin:
    title: str
    class_names: tuple[str, ...]
    mirrors: tuple[str, ...]
    sha256: tuple[str, ...]  # of the uncompressed bytes


_ORIGINS = {
    "mnist": _Origin(
        title="MNIST",
        class_names=tuple("0123456789"),
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        sha256=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": _Origin(
        title="Fashion-MNIST",
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        sha256=(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def load(name: str, source: str | None = None) -> Dataset:
    """Load a data set and print one line that says what was loaded.

    Parameters
    ----------
    name : str
        ``"mnist"`` or ``"fashion_mnist"``.
    source : str, optional
        ``"full"``: the complete data, downloaded where they are missing, or an error;
        ``"sample"``: the sample that comes with the course, never a download;
        ``"auto"``: the complete data, or the sample where they cannot be had.
        Without it the environment variable ``COURSE_DATA`` decides, and else it is ``"auto"``.

    Raises
    ------
    ValueError
        If ``name`` or ``source`` is unknown, or the sample is damaged.
    OSError
        If the data cannot be had.
    """
    if name not in NAMES:
        raise ValueError(f"data set: expected one of {', '.join(NAMES)}, received {name!r}")
    origin = "the argument source"
    if source is None:
        origin = "the environment variable COURSE_DATA"
        source = os.environ.get("COURSE_DATA") or "auto"
    if source not in _SOURCES:
        raise ValueError(f"{origin}: expected one of {', '.join(_SOURCES)}, received {source!r}")
    dataset, reason = None, "the sample was asked for"
    if source != "sample":
        try:
            dataset = _load_full(name)
        except OSError as error:
            if source == "full":
                raise OSError(f"{error}. {_instructions(name)}") from None
            reason = str(error)
    dataset = dataset or _load_sample(name)
    counts = f"{len(dataset.train_images):,} training and {len(dataset.test_images):,} test images"
    if dataset.source == "full":
        print(f"{dataset.title}, complete: {counts}.")
    else:
        print(
            f"{dataset.title}, SAMPLE only: {counts}, because {reason}. "
            "Numbers will differ from those in the text: it speaks of the complete data."
        )
    return dataset


def split(dataset: Dataset) -> Splits:
    """Split a data set like TensorFlow's old MNIST reader: the first twelfth is for validation.

    Of 60,000 training images the first 5,000 become the validation set and 55,000 the training
    set; the test set stays as it is.  Grey values are divided by 255.
    """
    images, labels = dataset.train_images, dataset.train_labels
    first = len(images) // 12
    return Splits(
        train=_to_split(images[first:], labels[first:]),
        validation=_to_split(images[:first], labels[:first]),
        test=_to_split(dataset.test_images, dataset.test_labels),
    )


def images_file(dataset: Dataset) -> bytes:
    """Return the gzip-compressed IDX file of a data set's training images, for reading by hand.

    The complete data's file is read as it lies on disk, the sample is packed into its format.
    """
    if dataset.source == "full":
        raw = (_folder(dataset.name) / _FILES[0]).read_bytes()
        # A file that a browser has unpacked is accepted under the same name.
        return raw if raw.startswith(_GZIP) else gzip.compress(raw, mtime=0)
    header = np.array([2051, *dataset.train_images.shape], ">u4").tobytes()
    return gzip.compress(header + dataset.train_images.tobytes(), compresslevel=1, mtime=0)


def _folder(name: str) -> Path:
    """Return where the files of a data set lie; relative paths count from the course's folder."""
    data = Path(os.environ.get("COURSE_DATA_DIR") or "data").expanduser()
    return _ROOT / data / name.replace("_", "-")


def _shown(path: Path) -> str:
    """Return a path for a message: short where it lies in the course's folder."""
    return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else str(path)


def _instructions(name: str) -> str:
    return (
        f"To use the complete data without a download, put {', '.join(_FILES)} into "
        f"{_shown(_folder(name))}, or set COURSE_DATA_DIR to a folder that holds them in "
        f"{_folder(name).name}/. To use the sample, set COURSE_DATA=sample"
    )


def _to_split(images: np.ndarray, labels: np.ndarray) -> Split:
    flat = images.reshape(len(images), -1)
    # TensorFlow need not copy what begins at a multiple of 64 bytes.
    memory = np.empty(4 * flat.size + 64, np.uint8)
    first = -memory.ctypes.data % 64
    scaled = memory[first : first + 4 * flat.size].view(np.float32).reshape(flat.shape)
    np.divide(flat, np.float32(255), out=scaled)
    return Split(scaled, labels.astype(np.int32))


def _parse_idx(content: bytes) -> np.ndarray:
    # Its hash was right, so its header is: the number of dimensions is in the fourth byte.
    shape = np.frombuffer(content, ">u4", content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + shape.nbytes).reshape(shape)


def _load_full(name: str) -> Dataset:
    folder, origin = _folder(name), _ORIGINS[name]
    arrays = {
        part: _parse_idx(_verified_content(folder / file, sha256, origin.mirrors))
        for part, file, sha256 in zip(_PARTS, _FILES, origin.sha256, strict=True)
    }
    return Dataset(name, origin.title, "full", origin.class_names, **arrays)


def _load_sample(name: str) -> Dataset:
    path = _ROOT / "data" / "sample" / f"{name}.npz"
    restore = "Restore it with: git checkout -- data/sample"
    try:
        # Opened here, because np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {part: archive[part] for part in _PARTS}
        for part in ("train", "test"):
            images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
            if images.shape != (*labels.shape, 28, 28) or images.dtype != np.uint8:
                raise ValueError(f"{part}_images: {images.shape} {images.dtype}")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{_shown(path)}: the sample is missing. {restore}") from error
    except (KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{_shown(path)}: expected an .npz file with the arrays {', '.join(_PARTS)}, "
            f"found a damaged or different file. {restore}"
        ) from error
    for array in arrays.values():
        array.flags.writeable = False
    return Dataset(name, _ORIGINS[name].title, "sample", _ORIGINS[name].class_names, **arrays)


def _verified_content(path: Path, sha256: str, mirrors: tuple[str, ...]) -> bytes:
    """Return a file's uncompressed bytes, downloading it where it is missing or wrong."""
    place, damaged = f"{path.name} in {_shown(path.parent)}", False
    try:
        return _verify(path.read_bytes(), sha256)
    except FileNotFoundError:
        finding = f"{path.name} is missing in {_shown(path.parent)}"
    except OSError as error:
        raise OSError(f"{place} cannot be read ({error.strerror})") from error
    except ValueError as error:
        finding, damaged = f"{place} is damaged ({error})", True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if damaged:
            with suppress(FileNotFoundError):  # another process was quicker
                path.replace(path.with_name(f"{path.name}.corrupt"))
        with tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as temporary:
            part = Path(temporary) / path.name
            content = _download(part, sha256, mirrors)
            try:
                part.replace(path)
            except PermissionError:
                # Windows: another process has just put the same file there and is reading it.
                if not path.exists():
                    raise
            return content
    except OSError as error:
        # Only what the operating system reports has an errno: here, about the folder.
        why = f"the folder cannot be written ({error.strerror})" if error.errno else error
        raise OSError(f"{finding} and cannot be downloaded: {why}") from error


def _verify(raw: bytes, sha256: str) -> bytes:
    """Undo gzip, if it is gzip, and return the content, if it is the right one."""
    try:
        packed = raw.startswith(_GZIP)
        content = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(_LARGEST) if packed else raw
    except EOFError as error:
        raise ValueError("expected a complete gzip file, found one that ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"expected a gzip file, found a damaged one ({error})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"expected content with SHA-256 {sha256[:12]}…, found {found[:12]}…")
    return content


def _download(part: Path, sha256: str, mirrors: tuple[str, ...]) -> bytes:
    """Download a file from the first mirror that has it and return its uncompressed bytes."""
    reasons, waiting = {}, list(mirrors)
    for attempt in range(_ROUNDS):
        if attempt and waiting:
            time.sleep(_PAUSE)
        for mirror in tuple(waiting):
            try:
                # pooch sets the bar's length, but takes one of length 0 for none.
                with progress.bar(1, part.name, unit="B", unit_scale=True) as bar:
                    get = pooch.HTTPDownloader(bar, chunk_size=1 << 16, timeout=_TIMEOUT)
                    get(mirror + part.name, str(part), None)
                return _verify(part.read_bytes(), sha256)
            except (requests.RequestException, ValueError) as error:
                words, may_pass = _explain(error)
                reasons[mirror] = f"{urlsplit(mirror).hostname} {words}"
                if not may_pass:
                    waiting.remove(mirror)
    raise OSError("; ".join(reasons.values()))


def _explain(error: Exception) -> tuple[str, bool]:
    """Say why a download failed, and whether a second attempt may succeed."""
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return f"cannot be asked, since a proxy is set wrongly ({error})", False
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        return f"answers with HTTP status {status}", status >= 500 or status in (408, 429)
    if not isinstance(error, requests.RequestException):
        return f"sent a wrong file ({error})", True
    if not (error.args and isinstance(error.args[0], MaxRetryError)):  # there was a connection
        return "broke off the transfer", True
    if isinstance(error, requests.exceptions.SSLError):
        return "cannot prove its identity (TLS certificate)", False
    return "cannot be reached", False
