#!/bin/sh
# tensorrt-rtx 1.7.1.116: IBuilderConfig has build_route and all_build_routes, as TensorRT 11.1 documents them. A route that
# is not among all (there are none) is neither taken nor refused: the property stays empty, and no error is raised or logged.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tensorrt-rtx==1.7.1.116

"$work/venv/bin/python" - <<'EOF'
import tensorrt_rtx as trt

said = []

class Logger(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)

    def log(self, severity, message):
        if severity <= trt.ILogger.WARNING:
            said.append(message)

logger = Logger()
config = trt.Builder(logger).create_builder_config()
before, every = config.build_route, config.all_build_routes
config.build_route = "no such route"
print(f"tensorrt_rtx {trt.__version__}: all routes {every!r}, route {before!r} -> {config.build_route!r}, warnings {said}")
assert every == "", "changed: there are routes"
assert config.build_route == before == "" and not said, "changed: an unknown route is taken or refused"
EOF
