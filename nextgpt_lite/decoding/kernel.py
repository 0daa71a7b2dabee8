"""Steps on the CPU by ``step.c``, compiled once where there is a C compiler, for all models.

Memory is what a step waits for, so a matrix is stored in half the bytes where nothing is lost by that (most weights
were published as float16 or bfloat16), LoRA then apart; and as int8 with a scale for each output channel where that is
asked for.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from ctypes import c_float, c_int, c_int64, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from adapters.gated_prompts import PromptBatch, constant_terms
from adapters.imagebind_llm import word_term
from data.atomic import atomic_file
from data.parts import PartError, cache_folder
from nextgpt_lite.decoding.bare_llama import Head
from nextgpt_lite.decoding.contexts import Context
from nextgpt_lite.decoding.weights import LayerWeights, Linear

if TYPE_CHECKING:
    from nextgpt_lite.decoding.llama import LlamaWeights
    from nextgpt_lite.model import AnyToAnyCore

log = logging.getLogger(__name__)
SOURCE = Path(__file__).with_name("step.c")
#: Sums may be taken in any order, as in any product of matrices; nothing else is left to the compiler.
FLAGS = (
    "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math",
    "-freciprocal-math",
)  # fmt: skip
#: What is tried in turn: clang on other machines knows neither of these.
OPTIONAL = (("-march=native", "-fopenmp"), ("-march=native",), ("-mcpu=native",), ())
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.int8: 3}
TERMS, LANES = 2, 8


class _Matrix(ctypes.Structure):
    _fields_ = [("weight", c_void_p), ("scale", c_void_p)]
    _fields_ += [(name, c_int64) for name in ("kind", "outputs", "inputs")]


class _Linear(ctypes.Structure):
    _fields_ = [("base", _Matrix), ("down", _Matrix), ("up", _Matrix), ("bias", c_void_p)]


class _Group(ctypes.Structure):
    _fields_ = [("parts", _Linear * 3), ("count", c_int64)]


class _Layer(ctypes.Structure):
    _fields_ = [(name, _Group) for name in ("attention_in", "attention_out", "feed_in", "feed_out")]
    _fields_ += [(name, c_void_p) for name in ("attention_norm", "feed_norm", "query_norm", "key_norm")]


class _Term(ctypes.Structure):
    _fields_ = [("keys", c_void_p), ("values", c_void_p), ("count", c_int64)]


class _Prompts(ctypes.Structure):
    _fields_ = [("words", c_void_p), ("constant", c_void_p), ("terms", _Term * TERMS)]


class _Row(ctypes.Structure):
    _fields_ = [("token", c_int64), ("position", c_int64), ("capacity", c_int64)]
    _fields_ += [("cache", c_void_p), ("prompts", c_void_p)]


class _Model(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("layers", "norm", "embedding", "added_embedding", "cosine", "sine")]
    _fields_ += [("head", _Group), ("added_head", _Group), ("epsilon", c_float), ("scaling", c_float)]
    _fields_ += [
        (name, c_int64)
        for name in (
            "count", "width", "heads", "kv_heads", "head_width", "inner", "first_added", "added_offset", "vocabulary",
            "spare", "threads",
        )
    ]  # fmt: skip


def open_kernel(core: AnyToAnyCore, weights: LlamaWeights, layers: list[LayerWeights]) -> Kernel | None:
    """The kernel of a core on the CPU; None where there is no compiler, or sizes are not those of whole vectors."""
    linears = [each for layer in layers for group in layer.groups for each in group]
    fits = all(each.weight.shape[1] % LANES == 0 for each in linears) and core.logit_cap is None
    library = load_library() if fits and weights.norm.device.type == "cpu" else None
    return None if library is None else Kernel(library, core, weights, layers)


class Kernel:
    """A core's weights as ``step.c`` reads them. Tensors that it points to are kept."""

    def __init__(
        self, library: ctypes.CDLL, core: AnyToAnyCore, weights: LlamaWeights, layers: list[LayerWeights]
    ) -> None:
        self._decode_step, self._kept = library.decode_step, list[torch.Tensor]()
        self._exact = weights.stored == "exact"
        model = self._model = _Model()
        table, first = core.table, core.table.first
        silent = table.first_signal - first
        self._vocabulary, self._silent = first + len(table.names), slice(first, first + silent)
        self._layers = (_Layer * len(layers))(*map(self._layer, layers))
        model.layers = ctypes.addressof(self._layers)
        model.norm = self._pointer(weights.norm)
        model.embedding = self._pointer(core.get_input_embeddings().weight.detach())
        model.added_embedding = self._pointer(core.added_embedding.detach())
        model.head = self._group([output_linear(core.get_output_embeddings(), first)])
        model.added_head = self._group([Linear(core.added_output.detach()[silent:])])
        model.epsilon, model.scaling = weights.epsilon, weights.scaling
        model.count, model.width, model.heads = len(layers), weights.norm.numel(), weights.heads
        model.kv_heads, model.head_width = weights.kv_heads, weights.head_width
        model.inner = layers[0].feed_out[0].weight.shape[1]
        model.first_added, model.added_offset, model.vocabulary = first, first + silent, self._vocabulary

    def step(self, weights: LlamaWeights, contexts: Sequence[Context], tokens: list[int]) -> tuple[Any, Any]:
        """States (B, D) and logits (B, V) of one token for each context, read behind what that holds."""
        model, rows = self._model, (_Row * len(tokens))()
        model.cosine, model.sine = weights.cosine.data_ptr(), weights.sine.data_ptr()
        model.threads = torch.get_num_threads()
        for row, context, token in zip(rows, contexts, tokens, strict=True):
            context.make_room(1)
            row.token, row.position, row.capacity = token, context.length, context.buffer.shape[3]
            row.cache, row.prompts = context.buffer.data_ptr(), self._prompts(weights, context)
        states = weights.norm.new_empty(len(tokens), model.width)
        logits = weights.norm.new_empty(len(tokens), self._vocabulary)
        logits[:, self._silent] = torch.finfo(torch.float32).min
        if self._decode_step(ctypes.byref(model), len(tokens), rows, states.data_ptr(), logits.data_ptr()):
            raise MemoryError(f"no memory for a step of {len(tokens)} rows")
        for context in contexts:
            context.length += 1
        return states, logits

    # -- what the structures point to -----------------------------------------------------------------------------

    def _layer(self, layer: LayerWeights) -> _Layer:
        norms = layer.attention_norm, layer.feed_norm, layer.query_norm, layer.key_norm
        return _Layer(*map(self._group, layer.groups), *map(self._pointer, norms))

    def _group(self, group: Sequence[Linear]) -> _Group:
        return _Group((_Linear * 3)(*map(self._linear, group)), len(group))

    def _linear(self, linear: Linear) -> _Linear:
        """Stored with LoRA merged or apart, whichever takes fewer bytes."""
        bias = self._pointer(linear.bias)
        if linear.down is None or linear.up is None:
            return _Linear(self._matrix(self._stored(linear.weight, linear.half)), bias=bias)
        missing = -len(linear.down) % LANES
        down, up = functional.pad(linear.down, (0, 0, 0, missing)), functional.pad(linear.up, (0, missing))
        apart = [self._stored(linear.weight, linear.half), self._stored(down), self._stored(up)]
        if linear.half is None or not self._exact:
            merged = self._stored(linear.merged().weight)
            if merged[0].nbytes <= sum(stored.nbytes for stored, _ in apart):
                return _Linear(self._matrix(merged), bias=bias)
        self._model.spare = max(self._model.spare, len(down) + len(up))
        return _Linear(*map(self._matrix, apart), bias)

    def _stored(
        self, weight: torch.Tensor, half: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A matrix in the fewest bytes that lose nothing; as int8 with its scale where that is asked for."""
        if not self._exact:
            return quantised(weight)
        if half is not None:
            return half, None
        for dtype in (torch.float16, torch.bfloat16):
            if torch.equal(weight[:1].to(dtype).float(), weight[:1]):  # most that lose something lose it here
                half = weight.to(dtype)
                if torch.equal(half.float(), weight):
                    return half, None
        return weight, None

    def _matrix(self, stored: tuple[torch.Tensor, torch.Tensor | None]) -> _Matrix:
        weight, scale = stored
        return _Matrix(self._pointer(weight), self._pointer(scale), KINDS[weight.dtype], *weight.shape)

    def _pointer(self, tensor: torch.Tensor | None) -> int | None:
        if tensor is None:
            return None
        self._kept.append(tensor.contiguous())
        return self._kept[-1].data_ptr()

    def _prompts(self, weights: LlamaWeights, context: Context) -> int | None:
        if context.prompts is None:
            return None
        if context.compiled_prompts is None:
            context.compiled_prompts = KernelPrompts(weights, context.prompts)
        return context.compiled_prompts.address


class KernelPrompts:
    """What each layer sees of gated prompts at every further token, as ``step.c`` reads it."""

    def __init__(self, weights: LlamaWeights, batch: PromptBatch) -> None:
        self._kept: list[torch.Tensor] = []
        layers = [self._layer(weights, number, batch) for number in range(len(weights.layers))]
        self._array = (_Prompts * len(layers))(*layers)
        self.address = ctypes.addressof(self._array)

    def _layer(self, weights: LlamaWeights, number: int, batch: PromptBatch) -> _Prompts:
        made, query = _Prompts(), weights.norm.new_empty(1, weights.heads, 1, weights.head_width)
        pairs = constant_terms(weights.layers[number].module, query, batch, weights.scaling)
        alike = [value.mean(2).flatten() for key, value in pairs if key is None]  # without scores all weigh alike
        if alike:
            made.constant = self._pointer(sum(alike, torch.zeros_like(alike[0])))
        scored = [(key, value) for key, value in pairs if key is not None]
        for place, (key, value) in enumerate(scored):
            made.terms[place] = _Term(self._pointer(key), self._pointer(value), value.shape[2])
        if batch.any_visible and batch.prompts.injection == "words" and batch.prompts.has_media(number):
            made.words = self._pointer(word_term(batch, number).flatten())
        return made

    def _pointer(self, tensor: torch.Tensor) -> int:
        self._kept.append(tensor.contiguous())
        return self._kept[-1].data_ptr()


def output_linear(head: Any, rows: int) -> Linear:
    """The first ``rows`` of the output layer."""
    if isinstance(head, Head):
        return head.linear.rows(rows)
    return Linear(head.weight.detach(), None if head.bias is None else head.bias.detach()).rows(rows)


def quantised(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix (O, I) as int8 and a scale for each output (O,), the largest number of a row being 127 of them."""
    scale = weight.abs().amax(1).clamp_min(1e-12) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


@lru_cache(maxsize=1)
def load_library() -> ctypes.CDLL | None:
    """``step.c`` compiled, from the cache folder or anew; None where there is no compiler that can, or no folder."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    try:
        path = cache_folder() / "kernels" / f"step-{_identity(compiler)}.so"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary:
                _compile(compiler, temporary)
        library = ctypes.CDLL(str(path))
    except (OSError, PartError, subprocess.SubprocessError) as error:
        log.info("text is generated without a compiled kernel: %s", error)
        return None
    library.decode_step.argtypes = [c_void_p, c_int64, c_void_p, c_void_p, c_void_p]
    library.decode_step.restype = c_int
    return library


def _compile(compiler: str, out: Path) -> None:
    for number, optional in enumerate(OPTIONAL):
        command = [compiler, *FLAGS, *optional, "-x", "c", str(SOURCE), "-o", str(out), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            return
        if number == len(OPTIONAL) - 1:
            raise OSError(f"{compiler} cannot compile {SOURCE.name}: {done.stderr.strip()[:200]}")


def _identity(compiler: str) -> str:
    """Of source, compiler, options and this machine's CPU: what another compiled is not loaded here."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    own = sorted({line for line in lines if line.startswith(("flags", "Features"))})
    parts = (SOURCE.read_text(), compiler, repr(FLAGS), repr(OPTIONAL), platform.machine(), *own)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
