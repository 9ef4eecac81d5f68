#!/usr/bin/env bash
# ONNX Runtime 1.32.0 on Linux: a model that folds case (StringNormalizer, as scikit-learn's text vectorizers are exported)
# and names no locale loads only where the system has en_US.UTF-8 installed. Slim containers have C, C.UTF-8 and POSIX
# alone: there the session is refused, whatever LANG says. ONNX leaves the default to the platform. With the attribute
# locale="C.UTF-8", which glibc has built in, the same node runs everywhere, letters beyond ASCII included; without a change
# of case it needs no locale.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy
cd "$folder"
mkdir none
cat > probe.py <<'PYTHON'
import numpy as np, onnxruntime as ort
from onnx import TensorProto as T, helper as h

assert ort.__version__ == "1.32.0", ort.__version__
ort.set_default_logger_severity(4)


def run(**attributes):
    ends = [[h.make_tensor_value_info(name, T.STRING, [2])] for name in ("words", "y")]
    graph = h.make_graph([h.make_node("StringNormalizer", ["words"], ["y"], **attributes)], "g", *ends)
    content = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()
    try:
        return ort.InferenceSession(content).run(None, {"words": np.array(["Night", "ÉTÉ"])})[0].tolist()
    except Exception as error:
        return "refused, naming its default" if "en_US.UTF-8" in str(error) else str(error)


print("no locale named:      ", unnamed := run(case_change_action="LOWER"))
print("locale C.UTF-8:       ", named := run(case_change_action="LOWER", locale="C.UTF-8"))
print("no change of case:    ", kept := run(case_change_action="NONE"))
assert unnamed == "refused, naming its default"
assert named == ["night", "été"]
assert kept == ["Night", "ÉTÉ"]
PYTHON
# glibc looks for installed locales here and finds none, as in a slim container.
LANG=en_US.UTF-8 LOCPATH="$folder/none" "$folder/venv/bin/python" probe.py
