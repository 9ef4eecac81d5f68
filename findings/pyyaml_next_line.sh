#!/usr/bin/env bash
# PyYAML's safe_dump(allow_unicode=True) writes the character U+0085 (next line) as it is, as if it could be printed, and
# reads it back as a space: of all characters the only one that is lost. Without allow_unicode it is escaped.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pyyaml==6.0.4"
"$folder/venv/bin/python" - <<'PYTHON'
import yaml

print("PyYAML", yaml.__version__)
lost = []
for code in range(0x11000):
    if not 0xD800 <= code < 0xE000:
        text = f"a{chr(code)}b"
        if yaml.safe_load(yaml.safe_dump(text, allow_unicode=True)) != text:
            lost.append(hex(code))
print("characters that do not come back:", lost)
assert lost == ["0x85"], "this changed"
assert yaml.safe_load(yaml.safe_dump("a\x85b")) == "a\x85b"
PYTHON
