#!/usr/bin/env bash
# ruamel.yaml's round trip changes numbers: a float in exponent notation that is loaded and dumped again, unchanged, can
# come back with another last digit, since the loaded value keeps a mantissa of its own and is written from that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "ruamel.yaml==0.19.1"
"$folder/venv/bin/python" - <<'PYTHON'
import io
from importlib.metadata import version

from ruamel.yaml import YAML

text = "range: 2.526314911067985e+16\n"
yaml = YAML()  # the round-trip loader and dumper, which is the default
document, written = yaml.load(text), io.StringIO()
yaml.dump(document, written)
print("ruamel.yaml", version("ruamel.yaml"))
print("loaded:", text.strip(), "dumped:", written.getvalue().strip())
assert float(document["range"]) == 2.526314911067985e16  # as long as nobody writes it
assert written.getvalue() == "range: 2.526314911067984e+16\n", "round trip is exact now"
PYTHON
