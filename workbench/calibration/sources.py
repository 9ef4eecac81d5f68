"""Where samples come from: .npz and .npy files, folders of images, Python iterables."""

from __future__ import annotations

import hashlib
import math
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from workbench.calibration.ahead import each_ahead
from workbench.calibration.arrays import as_text, npy_header, read_array
from workbench.calibration.preprocessing import PREPROCESSING_FILE, Preprocessing, stated_preprocessing
from workbench.calibration.samples import ONLY_INPUT, Array, Sample, Samples, feeds
from workbench.calibration.unchanged import Unchanged
from workbench.errors import SamplesError, WorkbenchError
from workbench.limits import check, mib

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    from workbench.graph import Model

__all__ = ["labels_for", "open_samples"]

IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def open_samples(source: object, model: Model, *, preprocessing: Preprocessing | None = None) -> Samples:
    """Make `Samples` of what a user has.

    Parameters
    ----------
    source
        An ``.npz`` file (one array an input, first axis = samples), an ``.npy`` file (the only input), a folder of
        images, a mapping of arrays like an ``.npz``, one array, or any iterable of {input: array}. An iterator that
        can be read only once is kept in a temporary file as it is read.
    model
        Whose inputs the samples are for.
    preprocessing
        For a folder of images: how a pixel becomes a number; what ``preprocess.json`` in it or beside it says where
        left out. It is never guessed.

    Raises
    ------
    SamplesError
        No such file, a file of another kind, arrays of different lengths, no samples at all, or images of which
        nothing says how they become inputs.
    """
    if isinstance(source, Samples):
        return source
    if isinstance(source, (str, Path)):
        samples = _open_path(Path(source), model, preprocessing)
    elif isinstance(source, np.ndarray):
        samples = _Arrays({ONLY_INPUT: source})
    elif isinstance(source, Mapping):
        samples = _Arrays({str(name): np.asarray(array) for name, array in source.items()})
    elif isinstance(source, Iterable):
        samples = _Rows(source)
    else:
        raise SamplesError(
            f"samples cannot be a {type(source).__name__}",
            fix="Give a path (.npz, .npy, folder of images), arrays, or an iterable of {input: array}.",
        )
    if len(samples) == 0:
        raise SamplesError("no samples", where=samples.describe().get("path"), fix="Give at least one.")
    return samples


def labels_for(source: str | os.PathLike[str] | npt.ArrayLike, samples: Samples, model: Model) -> npt.NDArray[np.int64]:
    """Read one class index a sample, or one a row where samples are whole inputs of several rows (a loader's batches).

    Parameters
    ----------
    source
        An ``.npy`` file, a text file with one number a line, or the numbers themselves.
    samples, model
        What the labels are of, and the model that takes it.

    Returns
    -------
    ndarray
        [N] int64.

    Raises
    ------
    SamplesError
        Not readable, not whole numbers, or another number of them.
    """
    labels, shape = _read_labels(source)
    if labels.size == len(samples) or labels.size == (rows := sum(feed.rows for feed in feeds(samples, model))):
        return labels
    counted = f"{len(samples)} samples" + ("" if rows == len(samples) else f" of {rows} rows")
    scores = len(shape) > 1 and shape[0] in (len(samples), rows)
    raise SamplesError(
        f"labels of shape {list(shape)} for {counted}" if scores else f"{labels.size} labels for {counted}",
        where=source if isinstance(source, (str, Path)) else None,
        fix="Give one class index a sample: of one-hot rows or scores that is .argmax(axis=1)."
        if scores
        else "Give one label a sample.",
    )


def _read_labels(source: str | os.PathLike[str] | npt.ArrayLike) -> tuple[npt.NDArray[np.int64], tuple[int, ...]]:
    """Return the labels one after the other, and the shape that they were given in."""
    where = source if isinstance(source, (str, Path)) else None
    try:
        if not isinstance(source, (str, Path)):
            values = np.asarray(source)
        elif Path(source).suffix.lower() == ".npy":
            values = read_array(Path(source))
        else:
            values = np.loadtxt(source, ndmin=1, encoding="utf-8-sig")
        labels = values.reshape(-1).astype(np.int64)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise SamplesError(
            "labels cannot be read", where=where, fix="Give an .npy of integers, or text with one number a line."
        ) from error
    if not np.array_equal(labels, values.reshape(-1)):
        raise SamplesError("labels are not whole numbers", where=where, fix="Give class indices.")
    return labels, values.shape


def _open_path(path: Path, model: Model, preprocessing: Preprocessing | None) -> Samples:
    if path.is_dir():
        if len(model.inputs) != 1:
            raise SamplesError(
                f"a folder of images, and the model has {len(model.inputs)} inputs", where=path, fix="Give an .npz."
            )
        stated = preprocessing or stated_preprocessing(path)
        if stated is None and not any(entry.suffix.lower() in IMAGE_ENDINGS for entry in path.iterdir()):
            raise SamplesError(
                "no images in this folder", where=path, fix="Give an .npz, an .npy or a folder of images."
            )
        if stated is None:
            raise SamplesError(
                "nothing says how these images become inputs, and a wrong guess looks right",
                where=path,
                fix="Say it as in training, like color=RGB,scale=1/255 (--preprocess on the command line, "
                f"preprocessing= in Python), or write {PREPROCESSING_FILE} into the folder.",
            )
        return _Images(path, stated.sized_for(model), model)
    if not path.is_file():
        raise SamplesError("no such file or folder", where=path, fix="Check the path.")
    if path.suffix.lower() in (".npz", ".npy"):
        return _File(path)
    raise SamplesError(
        f"samples of kind {path.suffix or 'without ending'!r} are not known",
        where=path,
        fix="Give an .npz, an .npy or a folder of images.",
    )


class _Arrays(Samples):
    """Arrays in memory, first axis = samples."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = dict(arrays)
        self._length = _same_length({name: a.shape for name, a in self._arrays.items()}, None)

    def __iter__(self) -> Iterator[Sample]:
        for i in range(self._length):
            yield {name: np.asarray(array[i]) for name, array in self._arrays.items()}

    def __len__(self) -> int:
        return self._length

    @property
    def fingerprint(self) -> str:
        return _content_hash(self)

    def describe(self) -> dict[str, Any]:
        return {"kind": "arrays"}


class _File(Samples):
    """An .npz or .npy file, read sample by sample."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unchanged = Unchanged([path])
        try:
            headers = {name: npy_header(stream) for name, stream in self._streams()}
        except Exception as error:  # zipfile and its decoders raise about ten kinds
            raise SamplesError(
                f"not a readable {path.suffix} file",
                where=path,
                fix="Save it again with numpy.savez; no object arrays.",
            ) from error
        for name, (shape, _, dtype) in headers.items():
            row = math.prod(shape[1:]) * dtype.itemsize
            check("sample_mib", mib(row), SamplesError, where=path, what=f"a sample of {name!r}")
        self._length = _same_length({name: shape for name, (shape, _, _) in headers.items()}, path)

    def __iter__(self) -> Iterator[Sample]:
        try:
            parts = {name: _npy_rows(stream) for name, stream in self._streams()}
            for _ in range(self._length):
                yield {name: next(rows) for name, rows in parts.items()}
        except WorkbenchError:
            raise
        except Exception as error:  # zipfile and its decoders raise about ten kinds
            self._unchanged.check()
            raise SamplesError("the file ends early", where=self._path, fix="Copy or save it again.") from error
        self._unchanged.check()

    def __len__(self) -> int:
        return self._length

    @property
    def fingerprint(self) -> str:
        self._unchanged.check()
        digest = _file_hash(self._path)
        self._unchanged.check()
        return digest

    def describe(self) -> dict[str, Any]:
        return {"kind": self._path.suffix[1:].lower(), "path": str(self._path)}

    def __getstate__(self) -> dict[str, Any]:
        # Another process reads it from another folder.
        return self.__dict__ | {"_path": self._path.absolute()}

    def _streams(self) -> Iterator[tuple[str, IO[bytes]]]:
        if self._path.suffix.lower() == ".npy":
            yield ONLY_INPUT, self._path.open("rb")
            return
        # One archive handle an array: they are read side by side.
        with zipfile.ZipFile(self._path) as listing:
            names = listing.namelist()
        for name in names:
            yield name.removesuffix(".npy"), zipfile.ZipFile(self._path).open(name)  # noqa: SIM115 - read by whoever asked


class _Images(Samples):
    """A folder of images, in the order of their names."""

    def __init__(self, folder: Path, preprocessing: Preprocessing, model: Model) -> None:
        self._folder = folder
        self._preprocessing = preprocessing
        self._dtype = model.inputs[0].numpy_dtype or np.dtype(np.float32)
        self._paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_ENDINGS)
        self._unchanged = Unchanged(self._paths)

    def __iter__(self) -> Iterator[Sample]:
        def decoded(path: Path) -> Sample:
            return {ONLY_INPUT: self._preprocessing.apply(path, self._dtype)}

        yield from each_ahead(decoded, self._paths)
        self._unchanged.check()

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def fingerprint(self) -> str:
        self._unchanged.check()
        digest = hashlib.sha256(self._preprocessing.model_dump_json().encode())
        for path in self._paths:
            digest.update(f"\0{path.name}\0{_file_hash(path)}".encode())
        self._unchanged.check()
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        # Another process reads them from another folder.
        return self.__dict__ | {"_paths": [path.absolute() for path in self._paths]}

    @property
    def reshaping(self) -> str:
        return "Say in the preprocessing how an image becomes an input: color=GRAY or RGB, layout=CHW or HWC, size=HxW."

    def describe(self) -> dict[str, Any]:
        preprocessing = self._preprocessing.model_dump(mode="json")
        return {"kind": "images", "path": str(self._folder), "preprocessing": preprocessing}


class _Rows(Samples):
    """Any iterable of {input: array}; one that can be read only once is kept in a temporary file."""

    def __init__(self, rows: Iterable[Mapping[str, Array]]) -> None:
        self._rows = rows
        self._spool: IO[bytes] | None = None
        self._names: list[list[str]] = []
        if iter(rows) is rows:
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the samples
            for row in map(_as_mapping, rows):
                self._names.append(list(row))
                for name, array in row.items():
                    npy.write_array(self._spool, _as_array(array, name), allow_pickle=False)
        self._length = len(self._names) if self._spool is not None else sum(1 for _ in rows)

    def __iter__(self) -> Iterator[Sample]:
        if self._spool is None:
            for row in map(_as_mapping, self._rows):
                yield {str(name): _as_array(array, name) for name, array in row.items()}
            return
        place = 0
        for names in self._names:
            self._spool.seek(place)
            sample = {name: npy.read_array(self._spool, allow_pickle=False) for name in names}
            # Another iteration may move the file's position while this one waits.
            place = self._spool.tell()
            yield sample

    def __len__(self) -> int:
        return self._length

    @property
    def fingerprint(self) -> str:
        return _content_hash(self)

    def describe(self) -> dict[str, Any]:
        return {"kind": "iterable"}


def _npy_rows(stream: IO[bytes]) -> Iterator[Array]:
    with stream:
        shape, fortran, dtype = npy_header(stream)
        row = shape[1:]
        if fortran:
            # The first axis is the fastest one in the file, so a sample is not in one piece.
            check("array_mib", mib(math.prod(shape) * dtype.itemsize), SamplesError, where="samples in Fortran order")
            whole = np.frombuffer(stream.read(math.prod(shape) * dtype.itemsize), dtype).reshape(shape, order="F")
            yield from (as_text(np.asarray(part, order="C")) for part in whole)
            return
        size = dtype.itemsize * math.prod(row)
        for _ in range(shape[0]):
            content = stream.read(size)
            if len(content) != size:
                raise EOFError
            yield as_text(np.frombuffer(content, dtype).reshape(row))


def _same_length(shapes: Mapping[str, tuple[int, ...]], where: object) -> int:
    lengths = {name: (shape[0] if shape else None) for name, shape in shapes.items()}
    scalar = next((name for name, length in lengths.items() if length is None), None)
    if scalar is not None:
        raise SamplesError(f"array {scalar!r} has no axes", where=where, fix="The first axis counts samples.")
    if len(set(lengths.values())) > 1:
        raise SamplesError(
            f"arrays of different lengths: {', '.join(f'{name} {length}' for name, length in lengths.items())}",
            where=where,
            fix="The first axis of each counts samples; they must agree.",
        )
    return next(iter(lengths.values()), 0) or 0


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise SamplesError(f"cannot be read: {error.strerror}", where=path, fix="Check the file.") from error
    return digest.hexdigest()


def _content_hash(samples: Samples) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        for name in sorted(sample):
            array = np.asarray(sample[name])
            digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def _as_mapping(row: object) -> Mapping[str, Array]:
    """Return one of several samples, which names its inputs; an array alone is that of the only one."""
    if isinstance(row, Mapping):
        return row
    if isinstance(row, np.ndarray):
        return {ONLY_INPUT: row}
    raise SamplesError(
        f"a sample cannot be a {type(row).__name__}",
        fix="Give each as {input: array}, or as one array of the only input.",
    )


def _as_array(content: object, name: object) -> Array:
    try:
        return np.asarray(content)
    except ValueError as error:
        raise SamplesError(
            "it is a list of arrays of different shapes, and samples are tensors",
            where=f"input {str(name)!r}",
            fix="Give one array an input.",
        ) from error
