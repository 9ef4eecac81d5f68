"""Files that are read with the one that is named: weights of a model, what a recipe says, images of a folder."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["needs"]

TUNED = ("recipe.yaml", "tuned.onnx", "tuned.onnx.data", "statistics.npz")
"""What a tuning leaves that is read again; its reports are only written."""
DEPTH = 5
"""A fleet names a folder, that has a recipe, which names a model, which has weights; a recipe may name itself."""
DOCUMENTS = (".yaml", ".yml")


def needs(path: Path, file: Path, *, depth: int = DEPTH) -> bool:
    """Say whether reading a file or folder also reads another file, which exists.

    What cannot be read needs nothing: the job says what is wrong with it.
    """
    if not depth:
        return False
    with contextlib.suppress(OSError, ValueError):
        if path.is_dir():
            return _in_folder(path, file, depth)
        if path.suffix in DOCUMENTS:
            return any(_same(one, file) or needs(one, file, depth=depth - 1) for one in _of_document(path))
        if path.suffix == ".onnx":
            return _is_weights(path, file)
        return _same(path.with_name(f"{path.name}.json"), file)  # an engine's manifest
    return False


def _in_folder(folder: Path, file: Path, depth: int) -> bool:
    from workbench.calibration import IMAGE_ENDINGS, PREPROCESSING_FILE

    recipe = folder / TUNED[0]
    if recipe.is_file():
        return any(_same(folder / name, file) for name in TUNED) or needs(recipe, file, depth=depth - 1)
    inside = os.path.realpath(file.parent) == os.path.realpath(folder)
    image = inside and file.suffix.lower() in IMAGE_ENDINGS
    return image or any(_same(place / PREPROCESSING_FILE, file) for place in (folder, folder.parent))


def _of_document(path: Path) -> Iterator[Path]:
    """Yield the files and folders that a recipe names, or a fleet for its sites: whatever text in it is one."""
    import yaml

    try:
        left = [yaml.safe_load(path.read_text(encoding="utf-8"))]
    except yaml.YAMLError:
        return
    while left:
        part = left.pop()
        if isinstance(part, dict):
            left += part.values()
        elif isinstance(part, list):
            left += part
        elif isinstance(part, str) and (named := path.parent / part) != path.parent and named.exists():
            yield named


def _is_weights(model: Path, file: Path) -> bool:
    """Say whether a model's weights lie in a file; without reading it where they cannot."""
    if not file.resolve().is_relative_to(model.resolve().parent):
        return False
    import onnx

    try:
        weights = onnx.load_model(model, load_external_data=False).graph.initializer
    except Exception:  # noqa: BLE001 - protobuf's, whatever they are: it is no model
        return False
    places = {entry.value for weight in weights for entry in weight.external_data if entry.key == "location"}
    return any(_same(model.parent / place, file) for place in places)


def _same(path: Path, file: Path) -> bool:
    return path.exists() and path.samefile(file)
