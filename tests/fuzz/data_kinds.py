"""Numbers: samples, labels, images, and what a calibration keeps."""

from __future__ import annotations

import numpy as np

from tests.fuzz import bases, mutate
from tests.fuzz.registry import kind, known, tolerated
from workbench.calibration import Preprocessing, labels_for, open_samples


@kind
def samples(rng, folder, base):
    """Samples as .npz and .npy: bytes, headers, types, shapes, names."""
    path = folder / rng.choice(("s.npz", "s.npy"))
    what = rng.randrange(4)
    if what == 0:
        path.write_bytes(
            mutate.content(rng, bases.npz(x=bases.samples()) if path.suffix == ".npz" else bases.npy(bases.samples()))
        )
    elif what == 1:
        header = bases.npy(bases.samples()).split(b"\n", 1)[0]
        shape = rng.choice(
            (
                b"(4, 3, 6, 6)",
                b"(4,)",
                b"()",
                b"(10**12,)",
                b"(4, 3, 6, 99999999999)",
                b"(-1, 3, 6, 6)",
                b"(4, 3, 6.0, 6)",
            )
        )
        kinds = (
            b"'<f4'",
            b"'|O'",
            b"'<f8'",
            b"'<U9999999'",
            b"[('a', '<f4')]",
            b"'<c8'",
            b"'|V0'",
            b"'<M8[ns]'",
            b"'x'",
            b"'|S0'",
        )
        changed = header.replace(b"(4, 3, 6, 6)", shape).replace(b"'<f4'", rng.choice(kinds))
        path.with_suffix(".npy").write_bytes(
            changed[: len(header)].ljust(len(header)) + b"\n" + bases.samples().tobytes()
        )
        path = path.with_suffix(".npy")
    else:
        array = _array(rng)
        name = rng.choice(("x", "x", "y", "../x", "x/..", "\u2028", ""))
        arrays = {name: array, "z": array} if rng.random() < 0.3 else {name: array}
        path.write_bytes(bases.npz(**arrays) if path.suffix == ".npz" else bases.npy(array))
    _calibrated(base, path)


def _array(rng):
    shape = list(
        rng.choice(((4, 3, 6, 6), (4, 3, 6), (4, 1, 3, 6, 6), (0, 3, 6, 6), (4,), (), (4, 3, 0, 6), (1, 3, 6, 6)))
    )
    array = np.zeros(shape, rng.choice(("f4", "f8", "f2", "i8", "?", "U3", "S3", "c8", "M8[s]", "u1")))
    if array.dtype.kind == "f" and array.size:
        array.flat[rng.randrange(array.size)] = rng.choice(mutate.FLOATS)
    return array if rng.random() < 0.8 else np.asfortranarray(array)


def _calibrated(base, data, preprocessing=None):
    wb = known(str(base))
    if preprocessing is not None:
        preprocessing = tolerated(Preprocessing.parse, preprocessing)
    verdict = tolerated(open_samples, data, wb.model, preprocessing=preprocessing)
    if verdict is not None:
        tolerated(wb.ranges.observe, verdict, batch=2)
        tolerated(lambda: verdict.fingerprint)


@kind
def labels(rng, folder, base):
    """Labels as text and .npy."""
    path = folder / rng.choice(("l.txt", "l.npy", "l"))
    array = np.arange(4)
    good = (
        bases.npy(rng.choice((array, array.astype("f4"), array.astype("U3"), array.reshape(2, 2))))
        if path.suffix == ".npy"
        else b"0\n1\n2\n3\n"
    )
    path.write_bytes(
        mutate.content(rng, good)
        if rng.random() < 0.8
        else rng.choice((b"1e400\n1\n2\n3", b"nan\n" * 4, b"9" * 5000, b"1j\n" * 4, b"# a"))
    )
    model = known(str(base)).model
    tolerated(labels_for, path, open_samples(base / "s.npz", model), model)


@kind
def images(rng, folder, base):
    """A folder of images."""
    for name in ("a", "b"):
        form, ending = rng.choice(
            (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp"), ("TIFF", "tif"), ("PPM", "ppm"), ("WEBP", "webp"))
        )
        data = bases.image(form)
        if rng.random() < 0.7:
            data = mutate.content(rng, data)
        if form == "PNG" and rng.random() < 0.2:
            data = data[:16] + rng.choice(mutate.INTEGERS[8:13]).to_bytes(8, "big", signed=True)[4:] * 2 + data[24:]
        (folder / f"{name}.{ending}").write_bytes(data)
    if rng.random() < 0.1:
        (folder / "c.png").mkdir()
    _calibrated(
        base,
        folder,
        preprocessing=rng.choice((None, "size=6x6", "size=6x6,color=GRAY", "size=6x6,mean=0/0/0,std=0/0/0")),
    )


@kind
def statistics(rng, folder, base):
    """Statistics that were saved."""
    path = folder / "statistics.npz"
    path.write_bytes(_kept(rng, base / "statistics.npz"))
    wb = known(str(base))
    before = wb.recipe
    if tolerated(wb.ranges.use_statistics, path) is not None:
        wb.undo()
    assert wb.recipe.steps == before.steps


def _kept(rng, path):
    if rng.random() < 0.4:
        return mutate.content(rng, path.read_bytes())
    with np.load(path) as file:
        arrays = dict(file)
    for name in rng.sample(sorted(arrays), 2):
        old = arrays[name]
        arrays[name] = rng.choice((_array(rng), old[:-1], old * np.float32(-1), old[..., None]))
    arrays.pop(rng.choice(sorted(arrays)), None)
    return bases.npz(**arrays)


@kind
def checkpoint(rng, folder, base):
    """A checkpoint of a calibration."""
    path = folder / "c"
    path.write_bytes(_kept(rng, base / "statistics.npz"))
    tolerated(known(str(base)).ranges.observe, base / "s.npz", batch=2, checkpoint=path)
