#!/bin/sh
# matplotlib 3.11.2: with the setting text.parse_math off, so that a "$" in a label is a "$", a logarithmic axis labels its
# own ticks with the TeX that it writes for itself: $\mathdefault{10^{1}}$. A linear axis with an offset does not.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numpy==2.4.6 matplotlib==3.11.2

"$work/venv/bin/python" - <<'EOF'
import io

import matplotlib
from matplotlib.figure import Figure


def drawn(scale):
    with matplotlib.rc_context({"text.parse_math": False, "svg.fonttype": "none"}):
        figure = Figure()
        axes = figure.subplots()
        axes.plot([1, 1000], [1, 1000])
        axes.set_yscale(scale)
        axes.set_title("price in $, cost in $")
        stream = io.StringIO()
        figure.savefig(stream, format="svg")
    return stream.getvalue()


log, linear = drawn("log"), drawn("linear")
print(f"matplotlib {matplotlib.__version__}: raw TeX in the picture of a log axis {log.count('mathdefault')} times, of a linear one {linear.count('mathdefault')}")
assert "price in $, cost in $" in log
assert "$\\mathdefault{10^{1}}$" in log, "changed: ticks of a logarithmic axis are plain text, or parsed as before"
assert "mathdefault" not in linear
EOF
