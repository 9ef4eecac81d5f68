from __future__ import annotations

import subprocess
import sys

import pytest

BEFORE = """
import sys
import workbench
import onnx_ir as ir
assert not any(name.startswith("sympy.") for name in sys.modules), "SymPy was imported"
"""


@pytest.mark.parametrize(
    "code",
    [
        BEFORE + "n = ir.SymbolicDim('n'); assert str(n + n) == str(2 * n); import sympy.core",
        BEFORE + "from sympy import Symbol; assert str(Symbol('x') + 1) == 'x + 1'",
        BEFORE + "import sympy.core; import sympy; assert sympy.Integer(3) == 3",
        BEFORE + "import importlib.util; assert importlib.util.find_spec('sympy').origin.endswith('__init__.py')",
        BEFORE + "assert str(ir.SymbolicDim('max(n, 4)') + 1)",
        "import sympy\nimport workbench\nassert sys.modules['sympy'] is sympy".replace(
            "import sympy", "import sys, sympy"
        ),
        """
import threading
import workbench, onnx_ir as ir
found = []
def add(): found.append(str(ir.SymbolicDim("n") + 1))
threads = [threading.Thread(target=add) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
assert len(found) == 8 and len(set(found)) == 1, found
""",
    ],
)
def test_sympy_waits_until_it_is_needed(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
