"""A tuning does nothing twice: it resolves a plan once a change, infers shapes once, writes one message a session."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx

from tests.kit.searching import images, small
from workbench.jobs import tune
from workbench.precision.plan import plan as plan_module
from workbench.runtime import session as session_module


def counting(monkeypatch, module, name, seen, key):
    real = getattr(module, name)

    def counted(*words, **options):
        seen.append(key(*words, **options))
        return real(*words, **options)

    monkeypatch.setattr(module, name, counted)


def test_a_tuning_resolves_infers_and_writes_once(tmp_path, monkeypatch):
    resolved, inferred, written, sessions = [], [], [], []
    counting(
        monkeypatch,
        plan_module,
        "resolve",
        resolved,
        lambda rules, model, **about: (rules, model, *map(id, about.values())),
    )
    counting(
        monkeypatch, onnx.shape_inference, "infer_shapes", inferred, lambda model, *_, **__: model.SerializeToString()
    )
    for name in ("serialized", "without_weights"):
        counting(monkeypatch, session_module, name, written, lambda model, outputs: (model, *outputs))
    counting(monkeypatch, session_module.Session, "__init__", sessions, lambda _, model, **__: model)
    model = small()
    (tmp_path / "model.onnx").write_bytes(model.to_bytes())
    np.savez(tmp_path / "samples.npz", **images(model, 4))
    tune(tmp_path / "model.onnx", tmp_path / "samples.npz", tmp_path / "out", runs=0)
    again = [one for one, times in Counter(resolved).items() if times > 1]
    assert not again
    assert max(Counter(inferred).values()) == 1
    assert len(written) == len(sessions)
