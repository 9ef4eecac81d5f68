#!/bin/sh
# onnxruntime 1.32.0 on Linux: the import alone makes a device identifier and a database in the user's cache folder and a
# session file in TMPDIR. Its own disable_telemetry_events() comes too late: the files are there by then. The variable
# ORT_DISABLE_TELEMETRY=1, set before the import (also from within Python), prevents all of them.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnxruntime==1.32.0

files() { # runs Python code with folders of its own, prints the files that it left
    rm -rf "$work/home" && mkdir -p "$work/home/tmp" "$work/home/cache"
    HOME="$work/home" XDG_CACHE_HOME="$work/home/cache" TMPDIR="$work/home/tmp" "$work/venv/bin/python" -c "$1"
    (cd "$work/home" && find . -type f | sort | tr '\n' ' ')
}

unset ORT_DISABLE_TELEMETRY
plain=$(files 'import onnxruntime')
late=$(files 'import onnxruntime; onnxruntime.disable_telemetry_events()')
early=$(files 'import os; os.environ["ORT_DISABLE_TELEMETRY"] = "1"; import onnxruntime')
echo "onnxruntime $("$work/venv/bin/python" -c 'import os; os.environ["ORT_DISABLE_TELEMETRY"] = "1"; import onnxruntime as o; print(o.__version__)')"
echo "import alone:                        $plain"
echo "then disable_telemetry_events():     $late"
echo "ORT_DISABLE_TELEMETRY=1 beforehand:  ${early:-nothing}"
case "$plain" in *deviceid*onnxruntime.db*) ;; *) echo "changed: the import writes no identifier" && exit 1 ;; esac
case "$late" in *deviceid*) ;; *) echo "changed: the function prevents the files" && exit 1 ;; esac
[ -z "$early" ] || { echo "changed: the variable does not prevent the files"; exit 1; }
