"""Which node an error of TensorRT's parser or builder is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.backends.verdict.cause import Fix
from workbench.backends.verdict.operators import CONVERT, MOST_AXES, NO_ATTENTION
from workbench.backends.verdict.tensor_types import PARSER_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from workbench.backends.compiler import Compilation
    from workbench.graph import Model

__all__ = ["Problem", "blame", "first_line", "without_kernel"]

_NO_KERNEL = re.compile(r"any implementation for node \{ForeignNode\[(.+?)\.\.\.(.+)\]\}")
_NO_FUSED_KERNEL = re.compile(r"any implementation for node ([^{]+ \+ .+?)\.?$", re.MULTILINE)
_AS_ONE = re.compile(r"no kernel computes (.+) as one")
_SENTENCE = re.compile(r'&& "([^"]{12,})"|Assertion failed: .*?: (.{12,}?)\.? \(in function')
_STRAY = re.compile(r"Tensor (\S+) has datatype (\w+) but is not (consumed|produced) by")
NO_GPU = "CUDA driver version is insufficient"
RECURRENT = ("LSTM", "GRU", "RNN", "If", "Loop", "Scan")
_NO_GPU_NOISE = re.compile(r"\n?\[checkMacros\.cpp::catchCudaError[^\n]*cudaError 35[^\n]*")


@dataclass(frozen=True)
class Problem:
    """A failure that no single node is to blame for, as far as the compiler says."""

    reason: str
    fix: Fix | None = None
    message: str | None = None


def blame(model: Model, compilation: Compilation) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Bring each error to its node: by the parser's index and name, or by a name in the builder's text."""
    own_names: dict[str, list[str]] = {}
    for address, node in model.nodes.items():
        own_names.setdefault(node.name or "", []).append(address)
    messages: dict[str, str] = {}
    problems: list[Problem] = []
    for nodes, text in (
        *_parser_errors(model, compilation, own_names),
        *_builder_errors(model, compilation, own_names),
    ):
        messages.update(dict.fromkeys(nodes, text))
        if not nodes:
            problems.append(_problem(model, text))
    return messages, tuple(problems)


def without_kernel(reason: str) -> list[str]:
    """Return the nodes that a compiler fuses and has no kernel for, of the words that say so; none of other words."""
    match = _AS_ONE.search(reason)
    return [] if match is None else match[1].split(" + ")


def _parser_errors(
    model: Model, compilation: Compilation, own_names: Mapping[str, list[str]]
) -> Iterator[tuple[list[str], str]]:
    top = list(model.top_nodes)
    no_gpu = [line.text for line in compilation.log if NO_GPU in line.text]
    for issue in compilation.issues:
        text = f"{_NO_GPU_NOISE.sub('', issue.text)} (in function {issue.function}, {issue.code})"
        if "plugin" in issue.text and no_gpu:
            text += f"; {no_gpu[-1]}"
        nodes = own_names.get(issue.node, []) if issue.node else []
        if not nodes and 0 <= issue.index < len(top) and not issue.stack:
            nodes = [top[issue.index]]
        if not nodes and issue.function.startswith("import"):
            # An importer of one operator that forgot to say for which node it speaks.
            operator = issue.function.removeprefix("import")
            nodes = [address for address, node in model.nodes.items() if node.op_type == operator]
        yield nodes, text


def _builder_errors(
    model: Model, compilation: Compilation, own_names: Mapping[str, list[str]]
) -> Iterator[tuple[list[str], str]]:
    if compilation.built or not compilation.parsed:
        return
    # Without a GPU every error is followed by one about the missing driver, which says nothing of the model.
    # A timing cache that could not be read is called an error too, and only costs time.
    idle = ("cudaError 35", "myelinCache", "timing cache will not be used")
    lines = [line.text for line in compilation.log if "ERROR" in line.severity]
    errors = [text for text in lines if not any(words in text for words in idle)]
    for text in errors or ["the builder returned no engine and said nothing"]:
        yield _names_in(text, own_names) or _readers_of_constant(model, text) or _told_by_operator(model, text), text


def _names_in(text: str, own_names: Mapping[str, list[str]]) -> list[str]:
    """Find the node that a builder's message names: ``(IConvolutionLayer Conv_29: ...`` or ``node Conv_29``."""
    for match in re.finditer(
        r"I\w+Layer ([^:\s]+) has|I\w+Layer ([^:]+):|\{ForeignNode\[([^\]]+)\]|operation '([^']+)'|[Nn]ode ([^\s:,]+)"
        r"|(\S+) has no runners",
        text,
    ):
        name = next(group for group in match.groups() if group)
        # An If or a Loop of the model is several layers, named after it; a name that a tensor has too, as that of a
        # node without one has, goes on as y_U0, and one of a weight as w_0.
        for candidate in (name, name.removesuffix("_OutputLayer"), re.sub(r"_(U?\d+)?$", "", name)):
            if candidate in own_names:
                return own_names[candidate]
    return []


def _told_by_operator(model: Model, text: str) -> list[str]:
    """Find the nodes of the only operator that a builder's message can be about."""
    if NO_ATTENTION not in text:
        return []
    return [address for address, node in model.nodes.items() if node.op_type == "Attention"]


def _readers_of_constant(model: Model, text: str) -> list[str]:
    """Find the nodes that read the weight a builder's message names."""
    match = re.search(r"[Cc]onstant \(([^)]+)\)", text)
    weight = None if match is None else model.initializers.get(match[1])
    return [] if weight is None else [str(use.node.name) for use in weight.uses()]


def _problem(model: Model, text: str) -> Problem:
    if "HW-specific datatypes" in text:
        return Problem(first_line(text), Fix("Choose a precision that the target has."), text)
    if "pre-opset 7" in text.lower():
        reason = f"opset {model.opset}: the parser reads 7 and newer" if model.opset else "no operator set is imported"
        return Problem(reason, CONVERT if model.opset else None, text)
    if "Failed to import initializer" in text or "Failed to convert ONNX date type" in text:
        return Problem(_bad_tensor(model, text), None, text)
    wide = next((t for t in model.inputs if t.shape is not None and len(t.shape) > MOST_AXES), None)
    if wide is not None and "Failed to convert ONNX dimensions" in text:
        reason = f"input {wide.name!r} has {len(wide.shape or ())} axes; TensorRT has at most {MOST_AXES}"
        return Problem(reason, Fix("Merge axes that stay together, in the model and in what is fed."), text)
    stray = _STRAY.search(text)
    if stray is not None:
        place = "an output" if stray[3] == "produced" else "an input"
        fix = Fix("Quantize and dequantize inside of the model: such types have no other use, and none at its ends.")
        return Problem(f"{stray[1]!r} is {place} of type {stray[2].upper()}, or is used like one", fix, text)
    if "within workspace limit" in text:
        return Problem("no kernel fits into the workspace limit", Fix("Raise the workspace limit."), text)
    lacking = _no_kernel(model, text)
    if lacking is not None:
        return lacking
    if "convertMyelinWeightsToFp32" in text or "chooseHigherPrecision" in text:
        fix = Fix("Lower it for the target tensorrt-8.6, which keeps those weights in floating point behind Q/DQ.")
        where = "where Myelin compiles the layer" if "Myelin" in text else "here, it seems where it merges convolutions"
        return Problem(f"TensorRT 8 takes no weights stored as INT8 {where}", fix, text)
    recurrent = sorted({n.op_type for n in model.nodes.values()} & set(RECURRENT))
    hint = None
    if recurrent and ("Myelin" in text or "graphScope" in text):
        hint = Fix(
            f"The model has {', '.join(recurrent)}, where this compiler was seen to fail; "
            "unroll the recurrence, or export without control flow."
        )
    return Problem(f"the compiler failed and named no node: {first_line(text)}", hint, text)


def _no_kernel(model: Model, text: str) -> Problem | None:
    region = _NO_KERNEL.search(text)
    if region is not None:
        fix = Fix(
            "Constrain fewer layer precisions, quantize all of its matrix products or none, or give more workspace."
        )
        return Problem(f"no kernel computes the region from {region[1]} to {region[2]} as a whole", fix, text)
    fused = _NO_FUSED_KERNEL.search(text)
    own = {node.name: address for address, node in model.nodes.items()}
    nodes = [] if fused is None else [own[name] for name in fused[1].split(" + ") if name in own]
    if not nodes:
        return None
    fix = Fix("Give the nodes behind it INT8 as well, or leave it in floating point.")
    return Problem(f"no kernel computes {' + '.join(nodes)} as one", fix, text)


def _bad_tensor(model: Model, text: str) -> str:
    match = re.search(r"Failed to import initializer: (\S+) \(in function", text)
    weight = None if match is None else model.initializers.get(match[1])
    kinds = {kind.name for kind in PARSER_TYPES}
    if weight is None or weight.const_value is None:
        fed = next((t for t in model.inputs if t.form or (t.dtype is not None and t.dtype not in kinds)), None)
        if fed is not None:
            return f"input {fed.name!r} is {f'a {fed.form}' if fed.form else fed.dtype}, which TensorRT does not know"
        return "a weight or an input has a type that TensorRT does not know"
    kind = weight.const_value.dtype
    if kind in PARSER_TYPES:
        return f"weight {weight.name!r} cannot be read: its content is missing or has another size than its shape"
    return f"weight {weight.name!r} is {kind.name}, which TensorRT does not know"


def first_line(text: str) -> str:
    """Return the first line of a message that says something, cut to fit a table.

    Of a failed assertion that is the sentence for people behind it: ``expression && "sentence"``, or
    ``Assertion failed: expression: sentence``.
    """
    lines = [line for line in text.strip().splitlines() if not line.startswith("Invalid Node - ")]
    line = lines[0] if lines else text
    sentence = _SENTENCE.search(line)
    if sentence is not None:
        line = next(group for group in sentence.groups() if group)
    return line if len(line) <= 240 else line[:237] + "..."
