"""What runs the examples of the documentation notices those that are wrong."""

from __future__ import annotations

import pytest

from tests.kit import examples
from tests.kit.examples import PAGES

TABLE = "| There | Here |\n| --- | --- |\n"


def run(text, folder):
    page = folder / "page.md"
    page.write_text(text)
    document = PAGES.parse(page)
    ran = [example.evaluate() for example in document.examples()]
    return len(ran)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_code_rows_and_shell_lines_are_run(folder):
    block = "```python\nnumber = 2\n```\n"
    assert (
        run(f"{block}{TABLE}| two | `assert number \\| 1 == 3` |\n| three | `import math`, `math.pi` |\n", folder) == 3
    )
    assert run("```bash\nworkbench --version\nworkbench inspect none.onnx  # exit code 3\n```\n", folder) == 1
    assert run("```text\nworkbench none\n```\n", folder) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        "```python\n1 / 0\n```\n",
        "```bash\nworkbench inspect none.onnx\n```\n",
        "```bash\nworkbench --version  # exit code 3\n```\n",
        "```bash\nmake coffee\n```\n",
        "```bash\npip install '.[coffee]'\n```\n",
        "```bash\nfalse\n```\n",
        f"{TABLE}| x | nothing to run |\n",
        f"{TABLE}| x | `1 / 0` |\n",
        f"{TABLE}| x | `workbench inspect none.onnx` |\n",
        "```yaml\nworkbench: 1\nsteps: [{do: nonsense}]\n```\n",
    ],
)
def test_what_is_wrong_is_noticed(wrong, folder):
    with pytest.raises(Exception):  # noqa: B017, PT011 - each has a kind of its own
        run(wrong, folder)


def test_a_page_that_cannot_begin_removes_nothing(folder, monkeypatch):
    (folder / "kept").touch()
    monkeypatch.setattr(examples, "files", lambda: folder / "none")
    namespace = {}
    with pytest.raises(FileNotFoundError):
        PAGES.setup(namespace)
    PAGES.teardown(namespace)
    assert (folder / "kept").exists()
