# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a tuned model to a service
#
# What a tuning wrote is served over HTTP by KServe's open inference protocol, which Triton speaks too, so that Triton's
# own client asks here. Then the service is loaded by one client and by many, with requests run one by one and together,
# and in the end what it saw in the field is held against what the model was calibrated on. ONNX Runtime runs it: no GPU
# is needed, and no Docker.
#
# It takes `pip install 'trt-workbench[lab,serve]' 'tritonclient[http]'`.

# %% tags=["parameters"]
tuned: str = ""  # a folder that workbench tune wrote; the sample model is tuned where empty
requests: str = ""  # an .npz of what is asked, one array an input; drawn where empty
labels: str = ""  # one class index a sample of it
out: str = "out/service"  # where the results go
clients: list[int] = [1, 4, 16, 32]  # how many ask at a time
seconds: float = 1.5  # of each load
max_batch: int = 16  # the most rows that are run together

# %%
import contextlib
import http.client
import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tritonclient.http

import workbench

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "sample_models").is_dir())
OUT = Path(out) if Path(out).is_absolute() else ROOT / out
OUT.mkdir(parents=True, exist_ok=True)


def draw(split: str, count: int) -> Path:
    """Draw glyphs with the repository's own script: the same count gives the same images everywhere."""
    folder = OUT / "data" / split
    script = ROOT / "sample_models" / "glyphs.py"
    subprocess.run([sys.executable, script, "--split", split, "--count", str(count), "--out", folder], check=True)
    return folder


# %% [markdown]
# ## Tune
#
# To INT8, by the best practice. Beside the model and its recipe lies `statistics.npz`: what calibration saw.

# %%
if not tuned:
    tuned = str(OUT / "tuned")
    samples = draw("calibration", 300) / "samples.npz"
    print(workbench.tune(ROOT / "sample_models/residual_cnn.onnx", samples, tuned, batch=32, runs=0).table())
if not requests:
    drawn = draw("test", 200)
    requests, labels = str(drawn / "samples.npz"), str(drawn / "labels.npy")
arrays = dict(np.load(requests))
sorted(path.name for path in Path(tuned).iterdir())

# %% [markdown]
# ## Serve
#
# The service is a process of its own. `--port 0` takes any free port, and it says which; `--watch` counts the values
# that it sees, with calibration's own counter.


# %%
@contextlib.contextmanager
def serving(*options: object) -> Iterator[str]:
    """Serve until the end of the block; give the address."""
    command = [sys.executable, "-m", "workbench", "serve", f"model={tuned}", "--port", "0", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline()
    address = re.search(r"http://([\d.]+:\d+)", line)
    if address is None:
        raise RuntimeError(line + process.stderr.read())
    try:
        yield address[1]
    finally:
        process.terminate()
        process.communicate()


def ask(client: tritonclient.http.InferenceServerClient, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Ask for rows with Triton's client: input name to array, output name to array."""
    inputs = []
    for described in client.get_model_metadata("model")["inputs"]:
        array = rows[described["name"]]
        one = tritonclient.http.InferInput(described["name"], list(array.shape), described["datatype"])
        one.set_data_from_numpy(array)
        inputs.append(one)
    answer = client.infer("model", inputs)
    return {output["name"]: answer.as_numpy(output["name"]) for output in answer.get_response()["outputs"]}


field = OUT / "field.npz"
field.unlink(missing_ok=True)
with (
    serving("--watch", field, "--watch-every", 1) as address,
    tritonclient.http.InferenceServerClient(address) as client,
):
    metadata = client.get_model_metadata("model")
    answers = [
        ask(client, {k: a[i : i + 1] for k, a in arrays.items()}) for i in range(len(next(iter(arrays.values()))))
    ]
print(metadata["inputs"], metadata["outputs"], metadata["parameters"]["batching"], sep="\n")

# %%
name = metadata["outputs"][0]["name"]
outputs = np.concatenate([answer[name] for answer in answers])
if labels:
    print(f"{len(outputs)} requests answered, top-1 {np.mean(outputs.argmax(1) == np.load(labels)):.1%}")
outputs[:2]

# %% [markdown]
# ## Under load
#
# Each client sends its next request when it has the answer to the one before. A lone request is run at once; what waits
# while the engine is busy is run together, so that the rows of a run grow with the clients. Clients and service share
# this machine's processor, whose speed says nothing about a GPU's.


# %%
def load(address: str, body: bytes, header: int, count: int) -> list[float]:
    """Ask with many clients at once; return how long each answer took, in milliseconds."""
    host, port = address.split(":")
    headers = {"Inference-Header-Content-Length": str(header)}
    end = time.perf_counter() + seconds
    times: list[list[float]] = [[] for _ in range(count)]

    def one(mine: list[float]) -> None:
        connection = http.client.HTTPConnection(host, int(port))
        while (start := time.perf_counter()) < end:
            connection.request("POST", "/v2/models/model/infer", body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            mine.append((time.perf_counter() - start) * 1e3)
        connection.close()

    threads = [threading.Thread(target=one, args=(mine,)) for mine in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(itertools.chain(*times))


inputs = []
for described in metadata["inputs"]:
    row = arrays[described["name"]][:1]
    inputs.append(tritonclient.http.InferInput(described["name"], list(row.shape), described["datatype"]))
    inputs[-1].set_data_from_numpy(row)
body, header = tritonclient.http.InferenceServerClient.generate_request_body(inputs)

latencies, rows = {}, []
with serving("--max-batch", max_batch) as address, tritonclient.http.InferenceServerClient(address) as client:
    load(address, body, header, max(clients))  # the first requests find nothing ready
    for count in clients:
        before = client.get_inference_statistics("model")["model_stats"][0]
        times = latencies[count] = load(address, body, header, count)
        after = client.get_inference_statistics("model")["model_stats"][0]
        runs = after["execution_count"] - before["execution_count"]
        p50, p95, p99 = np.percentile(times, [50, 95, 99])
        rows.append((count, len(times) / seconds, p50, p95, p99, len(times) / runs))
table = pd.DataFrame(rows, columns=["clients", "requests a second", "p50 ms", "p95 ms", "p99 ms", "rows a run"])
table.round(2)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=[1.6, 1])
shades = plt.get_cmap("viridis")(np.linspace(0.0, 0.8, len(clients)))
for (count, times), color in zip(latencies.items(), shades, strict=True):
    share = np.arange(1, len(times) + 1) / len(times)
    left.plot(times, 100 * share, color=color, label=f"{count} client{'s' if count > 1 else ''}")
left.set_xscale("log")
left.xaxis.set_major_formatter("{x:g}")
left.set_xlabel("latency of a request, ms")
left.set_ylabel("% of requests answered within it")
left.axhline(99, color="grey", linewidth=0.8, linestyle=":")
left.text(0.01, 98, "99 %", transform=left.get_yaxis_transform(), va="top", fontsize=8, color="grey")
left.legend(frameon=False, fontsize=8, loc="lower right")
right.bar([str(count) for count in table["clients"]], table["rows a run"], color=shades)
right.set_xlabel("clients at a time")
right.set_ylabel("rows of a run, on average")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
figure.suptitle("Latency under load, and how requests are run together, on this processor", fontsize=10)
plt.show()

# %% [markdown]
# ## What the field looks like
#
# The statistics of the first service are of images like those of the calibration. Now the same under a harsher light,
# which calibration has not seen: values beyond a range are clipped, and the report says where.

# %%
day = workbench.drift(tuned, field)
night_file = OUT / "night.npz"
night_file.unlink(missing_ok=True)
with (
    serving("--watch", night_file, "--watch-every", 1) as address,
    tritonclient.http.InferenceServerClient(address) as client,
):
    for start in range(0, 160, 8):
        ask(client, {name: (array[start : start + 8] * 1.6).astype(array.dtype) for name, array in arrays.items()})
night = workbench.drift(tuned, night_file, gate=("field_clipped <= 1",))
print(f"tensors that leave their range: {len(day.sentences)} by day ({day.rows} rows), {len(night.sentences)} by night")
print(*night.sentences[:5], *(f"gate {verdict}" for verdict in night.verdicts), sep="\n")

# %%
night.chart

# %% [markdown]
# This is the last one. Next: [00_quickstart](00_quickstart.ipynb) again, with a model of your own on the screen.
