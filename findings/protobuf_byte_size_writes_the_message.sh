#!/usr/bin/env bash
# ByteSize() of protobuf 6.33.6 for Python writes the whole message to tell its length.
#
# In C++ it adds up lengths. In Python (upb, the default implementation) it takes four times the memory of the message for
# a moment, as the buffer doubles: to ask an ONNX model of 256 MB whether it is over a limit, before writing it, takes 1 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet protobuf==6.33.6 onnx==1.23.2
cd "$folder"
cat > probe.py <<'PYTHON'
import resource

import google.protobuf
import onnx
from google.protobuf.internal import api_implementation

assert google.protobuf.__version__ == "6.33.6", google.protobuf.__version__
assert api_implementation.Type() == "upb", api_implementation.Type()
SIZE = 256 << 20


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


message = onnx.TensorProto(raw_data=bytes(SIZE))
before = peak()
length = message.ByteSize()
took = peak() - before
print(f"a message of {length:,} bytes: ByteSize() took {took:,} bytes of memory")
assert length > SIZE
assert took > 3 * SIZE, took
PYTHON
venv/bin/python probe.py
