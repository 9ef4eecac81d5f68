"""What is done to one model, and what each step must leave behind."""

from __future__ import annotations

import re
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx

from tests.conformance import yardstick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conformance.cases import Case

Status = Literal["held", "refused", "fault", "skipped"]

CONVERSIONS = (17, 21, 24)
LETTER = " to the letter"
"""A floating-point type without islands: what stands alone in a model is left in FP32 otherwise."""
PRESETS = ("fp32", "fp16", f"fp16{LETTER}", "bf16", f"bf16{LETTER}", "int8", "int8+fp16", "fp8+fp16")
MOST_NODES = 4
"""Nodes of a model, spread over it, for which edits are asked one by one."""
RUN = "run"
"""ONNX Runtime's own run of a model as it is."""
FAR = 10.0
"""dB below which what a preset computes is told, though it is no fault: on numbers at the edge of a type it may be."""

NATIVE = re.compile(r"\.(cc|cpp|h):|\.(cc|cpp|h)\b|[Aa]ssert|\w::\w|Traceback|internal error")
"""What a library's own source says; nothing a user can act on."""


@dataclass(frozen=True)
class Outcome:
    """What became of one step.

    Parameters
    ----------
    step
        What was done, for the table: ``edit bypass``, ``preset int8``.
    status
        ``held``; ``refused`` in one line that helps; ``fault``; ``skipped``, where there is nothing to look at.
    detail
        The step with its arguments, and what was said.
    far
        Whether a preset's numbers are below `FAR`.
    """

    step: str
    status: Status
    detail: str = ""
    far: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as the worker sends it."""
        return asdict(self)


class Broken(Exception):  # noqa: N818 - a finding, not an error of the suite
    """A step left something behind that it must not."""


def examine(case: Case, *, compile_too: bool = False) -> Iterator[Outcome]:
    """Do everything to one model.

    Where ONNX Runtime does not run it as it is, the first outcome says so: nothing of it is compared then.
    """
    truth: list[dict[str, Any]] | None = None
    steady = False
    try:
        truth = yardstick.run(case.model, case.feeds)
        again = yardstick.run(case.model, case.feeds)
        steady = all(yardstick.apart(a, b) is None for a, b in zip(truth, again, strict=True))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises many kinds, none of them public
        yield Outcome(RUN, "skipped", str(error).splitlines()[0][:200] if str(error) else "")
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        path.write_bytes(case.model)
        yield from _Bench(case, path, truth, steady=steady).everything(compile_too=compile_too)


class _Bench:
    """One model on its way through all steps."""

    def __init__(self, case: Case, path: Path, truth: list[dict[str, Any]] | None, *, steady: bool) -> None:
        self.case, self.path, self.steady = case, path, steady
        self.runs, self.truth = truth is not None, truth or []
        self.valid = _full_check(case.model) is None

    def everything(self, *, compile_too: bool) -> Iterator[Outcome]:
        import workbench

        opened: list[Any] = []
        yield attempt("open", "", lambda: opened.append(workbench.open_model(self.path)))
        if not opened:
            return
        wb = opened[0]
        for edit in offered(wb):
            # Only of a model that is no valid one itself may an offer turn out to be none.
            invalid = not self.valid and not self.runs
            yield attempt(f"edit {edit.do}", line(edit), lambda edit=edit: self.edited(wb, edit), refusable=invalid)
        for version in CONVERSIONS:
            yield attempt(f"convert {version}", "", lambda version=version: self.converted(wb, version))
        yield attempt("save and reload", "", lambda: self.saved(wb.model))
        if compile_too:
            yield attempt("check", "", lambda: self.checked(wb.model))
        yield attempt("prepare", "", lambda: self.prepared(wb))
        yield from self.presets(wb)

    def edited(self, wb: Any, edit: Any) -> None:
        """Apply an edit that was offered: the result is valid, runs, and where it says so computes the same."""
        from workbench.session import tried

        result = tried(wb.model, edit)
        if not result.changed:
            raise Broken("offered, and changes nothing")
        content = result.model.to_bytes()
        if self.valid and (reason := _full_check(content)) is not None:
            raise Broken(f"invalid: {reason}")
        if not self.runs:
            return
        inputs = {name: edit.origin(name) for name in yardstick.Runner(content).inputs}
        if not all(was in feed for was in inputs.values() for feed in self.case.feeds):
            return  # an extracted part is fed from the middle of the model
        feeds = [{name: edit.fed(name, feed[was]) for name, was in inputs.items()} for feed in self.case.feeds]
        numbers = edit.unchecked(wb.model) is None and self.steady
        for old, outcome in zip(self.truth, yardstick.run(content, feeds), strict=True):
            new = {edit.origin(name): value for name, value in outcome.items()}
            if edit.equivalent and (messages := yardstick.apart(old, new, numbers=numbers)) is not None:
                raise Broken(messages)

    def converted(self, wb: Any, version: int) -> None:
        from workbench.graph.edits import edit_by_name
        from workbench.session import tried

        self.same(tried(wb.model, edit_by_name("convert_opset", version=version)).model)

    def prepared(self, wb: Any) -> None:
        wb.prepare()
        self.same(wb.model)

    def saved(self, model: Any) -> None:
        """Write and read the model, in one file and in two; it is the same model, and computes the same."""
        from workbench.graph.load import load_model

        for external in (False, True):
            target = self.path.with_name(f"saved-{external}.onnx")
            model.save(target, external=external)
            read = load_model(target)
            if not external and read.digest != model.digest:
                raise Broken("another digest after saving")
            self.same(read)

    def checked(self, model: Any) -> None:
        from workbench.backends.verdict import check

        verdict = check(model, "sm86")
        if not verdict.accepted and not verdict.undecided and not (verdict.refused or verdict.problems):
            raise Broken("neither accepted nor refused for a reason")

    def presets(self, wb: Any) -> Iterator[Outcome]:
        from workbench.session import history_of

        calibrated: list[bool] = []
        for name in PRESETS:
            if name == "int8":
                yield attempt("calibrate", "", lambda: calibrated.append(wb.calibrate(self.case.feeds) is not None))
            if "8" in name and not calibrated:
                continue
            far: list[str] = []
            with history_of(wb).attempt() as trial:
                done = attempt(f"preset {name}", "", lambda name=name, far=far: self.lowered(wb, name, far))
                trial.discard()
            yield Outcome(done.step, done.status, done.detail or "".join(far), bool(far))

    def lowered(self, wb: Any, name: str, far: list[str]) -> None:
        from workbench.runtime.session import Session

        if name.endswith(LETTER):
            wb.plan.set("*", name.removesuffix(LETTER), islands=False)
        else:
            wb.plan.use(name)
        model = wb.tune().model
        content = model.to_bytes()
        if self.valid and (reason := _full_check(content)) is not None:
            raise Broken(f"invalid: {reason}")
        if not self.runs:
            return
        try:
            got = yardstick.run(content, self.case.feeds)
        except Exception as error:
            if "NOT_IMPLEMENTED" not in str(error) and "bfloat16" not in str(error).lower():
                raise
            ready = Session(model)  # BF16 has few kernels on a processor: the workbench computes it in FP32
            got = [ready.run(feed) for feed in self.case.feeds]
        for old, new in zip(self.truth, got, strict=True):
            if (messages := yardstick.apart(old, new, numbers=False)) is not None:
                raise Broken(messages)
        if self.steady and (reached := yardstick.sqnr(self.truth, got)) < FAR:
            far.append(f"{reached:.1f} dB")

    def same(self, model: Any) -> None:
        """Check that a model computes on ONNX Runtime what the case computes."""
        content = model.to_bytes()
        if self.valid and (reason := _full_check(content)) is not None:
            raise Broken(f"invalid: {reason}")
        if not self.runs:
            return
        for old, new in zip(self.truth, yardstick.run(content, self.case.feeds), strict=True):
            if (messages := yardstick.apart(old, new, numbers=self.steady)) is not None:
                raise Broken(messages)


def attempt(step: str, detail: str, do: Callable[[], object], *, refusable: bool = True) -> Outcome:
    """Do a step; a refusal is fine where the step may be refused, and in one line that a user can act on."""
    from workbench.errors import WorkbenchError

    try:
        with np.errstate(all="ignore"):
            do()
    except WorkbenchError as error:
        text = str(error)
        clean = refusable and "\n" not in text and NATIVE.search(text) is None
        return Outcome(step, "refused" if clean else "fault", " ".join(f"{detail} {text}".split()))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
        return Outcome(step, "fault", " ".join(f"{detail} {type(error).__name__}: {error}".split())[:600])
    return Outcome(step, "held", detail)


def offered(wb: Any) -> list[Any]:
    """Return the edits that are offered for the model and for a few of its nodes, each once."""
    nodes = list(wb.model.nodes)
    few = nodes[:: -(-len(nodes) // MOST_NODES)] if nodes else []
    from workbench.graph.edits import applicable

    records = [*applicable(wb.model, []), *(edit for node in few for edit in applicable(wb.model, [node]))]
    return list({line(edit): edit for edit in records}.values())


def line(edit: Any) -> str:
    """Return an edit with its arguments, in one line."""
    return str(edit.model_dump(exclude_defaults=True) | {"do": edit.do})


def _full_check(content: bytes) -> str | None:
    """Return why ONNX's checker, type inference included, refuses a model."""
    try:
        onnx.checker.check_model(content, full_check=True)
    except Exception as error:  # noqa: BLE001 - several kinds
        return " ".join(str(error).split())[:300]
    return None
