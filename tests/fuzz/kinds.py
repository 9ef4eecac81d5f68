"""Every kind of input, in five modules; what is raised but a `WorkbenchError` is a fault."""

from __future__ import annotations

import os
import random
import shutil
import time
import warnings

from tests.fuzz import data_kinds, hungry_kinds, model_kinds, page_kinds, text_kinds
from tests.fuzz.registry import KINDS, prepare

__all__ = ["KINDS", "data_kinds", "hungry_kinds", "model_kinds", "one", "page_kinds", "prepare", "text_kinds"]


def faulty(seed, folder):
    """Do what no input may do, so that a test can see that it would be noticed."""
    if seed == 0:
        _ = 1 / 0
    elif seed == 1:
        os.abort()
    elif seed == 2:
        time.sleep(60)
    elif seed == 3:
        held = b"x" * 2**30
        time.sleep(60)
        del held
    else:
        (folder.parent / "elsewhere").touch()


def one(name, seed, folder, base):
    """Make and try one input; whatever is raised is a fault."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(folder)
        if name == "faulty":
            faulty(seed, folder)
            return
        KINDS[name](random.Random(f"{name} {seed}"), folder, base)  # noqa: S311 - a seed, not a secret
