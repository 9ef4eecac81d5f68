"""What a person reads and runs beside the model repository: a compose file and two pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.backends import need_of
from workbench.handoff.triton.config import CACHE

if TYPE_CHECKING:
    from workbench.handoff.deployment import Port
    from workbench.handoff.triton.config import ServedModel

__all__ = ["RELEASE", "compose_text", "model_page", "repository_page"]

RELEASE = "26.07"
"""The release of Triton's containers."""
SERVER = "nvcr.io/nvidia/tritonserver"
USER = 1000
"""The user ``triton-server`` of Triton's images."""


def compose_text(release: str) -> str:
    """Return the compose file: the server, and a service that measures it on demand."""
    import yaml

    server = {
        "image": f"{SERVER}:{release}-py3",
        "command": ["tritonserver", "--model-repository=/models", "--exit-on-error=true"],
        "user": f"{USER}:{USER}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp", f"{CACHE}:uid={USER},gid={USER},mode=0700"],  # noqa: S108 - the container's
        "shm_size": "1gb",
        "volumes": [".:/models:ro"],
        "ports": ["127.0.0.1:8000:8000", "127.0.0.1:8001:8001", "127.0.0.1:8002:8002"],
        "healthcheck": {
            "test": ["CMD", "curl", "--fail", "--silent", "http://localhost:8000/v2/health/ready"],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "10m",
        },
        "deploy": {
            "resources": {"reservations": {"devices": [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]}}
        },
    }
    measure = {
        "image": f"{SERVER}:{release}-py3-sdk",
        "profiles": ["measure"],
        "depends_on": {"triton": {"condition": "service_healthy"}},
        "entrypoint": ["perf_analyzer", "-u", "triton:8001", "-i", "grpc"],
    }
    content = {"services": {"triton": server, "measure": measure}}
    return yaml.safe_dump(content, sort_keys=False, width=120)


def repository_page(release: str) -> str:
    """Return how to run a repository, for a person who has a machine with Docker."""
    return f"""# A model repository of Triton

Each folder is a model, with a page of its own. The containers below were not run by who wrote this page.

## What it needs

- A GPU of NVIDIA and its driver. `nvidia-smi` shows both.
- Docker with Compose, and NVIDIA's Container Toolkit:
  `docker run --rm --gpus all {SERVER}:{release}-py3 nvidia-smi` shows the GPU, too.
- Room for two images, `{SERVER}:{release}-py3` and, to measure, `{SERVER}:{release}-py3-sdk`.

## Run it

In this folder:

    docker compose up --detach --wait triton

That waits until every model is ready. The first start takes minutes where models are ONNX files: TensorRT builds
their engines, into `{CACHE}`, which lives as long as the container. A volume there that user {USER} may write keeps
them.

    curl localhost:8000/v2/health/ready --include     # 200 where it is
    curl localhost:8002/metrics                       # for Prometheus
    docker compose logs triton                        # why it is not
    docker compose down

The ports are bound to this machine alone: 8000 is HTTP, 8001 gRPC, 8002 metrics. Triton asks nobody who they are, so
put something that does before it when others are to reach it. It runs as user {USER}, on a file system that it cannot
write.
"""


def model_page(served: ServedModel, version: int, warmed: str, release: str) -> str:
    """Return what a model is, why it is configured as it is, and how to ask and measure it."""
    deployment, batching = served.deployment, served.batching
    name = deployment.name
    ports = [f"- input {_port(served, port)}" for port in served.inputs()]
    ports += [f"- output {_port(served, port)}" for port in served.outputs()]
    built = served.no_profile or f"Engines are built for a batch of 1 to {batching.most}, best for {batching.tuned}."
    why = [f"- {sentence}" for sentence in (*batching.why, built, warmed)]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"Version {version}: {_what(served, release)}",
            "",
            "A batch comes before each of these shapes." if batching.most else "Shapes are those of one request.",
            "",
            *ports,
            *_states(served),
            "",
            "## Why it is configured so",
            "",
            *why,
            "",
            "## Ask it",
            "",
            "With `pip install 'tritonclient[http]'`:",
            "",
            "```python",
            *_client(served),
            "```",
            "",
            "## Measure it",
            "",
            f"    docker compose run --rm measure {' '.join(_measure(served))}",
            "",
            "That prints throughput and latency percentiles at 1, 9, 17 and 25 requests at a time, of random numbers.",
            "",
        ]
    )


def _what(served: ServedModel, release: str) -> str:
    if served.platform == "plan":
        need = need_of(served.manifest)
        start = (
            " For another version than its own, add `--backend-config=tensorrt,version-compatible=true` to the command "
            "in compose.yaml: Triton then runs the code that the engine brings."
        )
        return (
            f"a TensorRT engine. {need}. Triton {release} must bring such a TensorRT, which NVIDIA's support matrix of "
            f"its containers tells.{start if need.newer else ''}"
        )
    return (
        "the tuned ONNX model, on ONNX Runtime with TensorRT. Its types are in the graph, so the configuration asks "
        "for no precision: TensorRT takes those of the graph."
    )


def _port(served: ServedModel, port: Port) -> str:
    dims = "x".join("any" if length < 0 else str(length) for length in served.dims(port))
    return f"`{port.name}`: {served.datatype(port).removeprefix('TYPE_')}, {dims}"


def _states(served: ServedModel) -> list[str]:
    if not served.states:
        return []
    pairs = ", ".join(f"`{pair.output.name}` becomes `{pair.input.name}`" for pair in served.states)
    sentences = (
        f"Between the requests of one sequence Triton keeps the state: {pairs}. It is zero at the beginning. A client "
        "sends the same `sequence_id` with each request, `sequence_start` with the first, `sequence_end` with the last."
    )
    return ["", sentences]


def _client(served: ServedModel) -> list[str]:
    sequence = ", sequence_id=1, sequence_start=True, sequence_end=True" if served.states else ""
    lines = ["import numpy as np", "from tritonclient.http import InferenceServerClient, InferInput", "", "inputs = []"]
    for port in served.inputs():
        kind = served.datatype(port).removeprefix("TYPE_").replace("STRING", "BYTES")
        shape = [1 if length < 0 else length for length in served.dims(port)]
        shape = [1, *shape] if served.batching.most else shape
        lines += [
            f"inputs.append(InferInput({port.name!r}, {shape}, {kind!r}))",
            f"inputs[-1].set_data_from_numpy(np.zeros({shape}, {NUMPY[kind]}))",
        ]
    lines += [
        'client = InferenceServerClient("localhost:8000")',
        f"answer = client.infer({served.deployment.name!r}, inputs{sequence})",
        f"print(answer.as_numpy({served.outputs()[0].name!r}))",
    ]
    return lines


def _measure(served: ServedModel) -> list[str]:
    words = [f"-m {served.deployment.name}", "--concurrency-range 1:32:8", "--percentile=99"]
    for port in served.inputs():
        dims = served.dims(port)
        if any(length < 0 for length in dims):
            words.append(f"--shape {port.name}:{','.join(str(abs(length)) for length in dims)}")
    if served.states:
        words.append("--sequence-length 20")
    return words


NUMPY = {
    "BOOL": "bool",
    "FP16": "np.float16",
    "FP32": "np.float32",
    "FP64": "np.float64",
    "BF16": "np.float32",
    "BYTES": "object",
    **{f"{sign}INT{bits}": f"np.{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
"""Triton's names of element types to NumPy's, for the example."""
