"""NExT-GPT's whole model with its signal tokens: losses of its stages, what its decoders get in generation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn
from transformers import LlamaConfig

from adapters import TransformerProjection
from adapters.output_projection import LEGACY_NAMES
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.model import AnyToAnyCore, caption_loss, language_loss
from nextgpt_lite.released_weights.prompts import legacy
from nextgpt_lite.signal_tokens import SignalTable
from tests.parity.cases import GOLDEN, Case, Comparison
from tests.parity.nextgpt_formula import by_formula, fill, noise
from tests.parity.nextgpt_prompts import LEGACY_EXTRA, LEGACY_TURNS, counts_of, equal, tokenizer_of
from tests.teacher_forced import forced_conditions

LOSS = 1e-4
SHORT = {"image": "img", "video": "vid", "audio": "aud"}
#: Sizes of the language model that a case may give, by transformers' names.
SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "rms_norm_eps", "max_position_embeddings",
)  # fmt: skip
#: The first release's language model keeps its own epsilon, whatever the configuration says.
LEGACY_EPSILON = 1e-6


class Reference:
    """Our core with the weights of the reference's, whose signal ids stand in the middle of its vocabulary."""

    def __init__(self, sizes: dict, ids: dict[str, tuple[int, int]], projections: Mapping[str, nn.Module]) -> None:
        """``ids``: first and last signal of each modality in the reference. ``projections`` by modality."""
        counts = {modality: last - first + 1 for modality, (first, last) in ids.items()}
        signals = [i for first, last in ids.values() for i in range(first, last + 1)]
        base = [i for i in range(sizes["vocab_size"]) if i not in signals]
        table = SignalTable(len(base), counts)
        self.ours = {reference: own for own, reference in enumerate(base)}
        self.ours |= {reference: table.first_signal + place for place, reference in enumerate(signals)}
        self.core = self._core(sizes, len(base), counts)
        self.core.output_projections.update(projections)
        self._copy_rows(sizes, base, signals)

    def _core(self, sizes: dict, first: int, counts: dict[str, int]) -> AnyToAnyCore:
        rope = {"rope_type": "default", "rope_theta": sizes.get("rope_theta", 10_000.0)}
        given = {name: sizes[name] for name in SIZES if name in sizes}
        text = LlamaConfig(vocab_size=first, tie_word_embeddings=False, rope_parameters=rope, **given)
        config = CoreConfig(
            text_config=text,
            first_added_token=first,
            signal_tokens=counts,
            embedding_width=sizes["hidden_size"],
            input_features="patches",
            input_projection="linear",
            prompts={"media_tokens": 0},
        )
        core = AnyToAnyCore(config).eval()
        fill(core.language_model)
        with torch.no_grad():  # media come in as they stand at their placeholders
            core.input_projection.weight.copy_(torch.eye(sizes["hidden_size"]))
            core.input_projection.bias.zero_()
        return core

    @torch.no_grad()
    def _copy_rows(self, sizes: dict, base: list[int], signals: list[int]) -> None:
        """Rows of the reference's embedding and output layer, base and signals apart."""
        core, shape = self.core, (sizes["vocab_size"], sizes["hidden_size"])
        output = "model.embed_tokens.weight" if sizes.get("tie_word_embeddings") else "lm_head.weight"
        silent = core.table.first_signal - core.table.first
        for layer, added, name in (
            (core.get_input_embeddings(), core.added_embedding, "model.embed_tokens.weight"),
            (core.get_output_embeddings(), core.added_output, output),
        ):
            rows = by_formula(name, shape)
            layer.weight.copy_(rows[base])
            added[silent:] = rows[signals]

    def ids(self, reference: Iterable[int]) -> list[int]:
        return [self.ours[i] for i in reference]

    @torch.no_grad()
    def losses(self, ids: list[int], labels: list[int], modality: str, target: torch.Tensor) -> torch.Tensor:
        """(text, caption) of one row in our ids; the target has the shape (L, C), or (C,) where L is one."""
        row, condition = torch.tensor([ids]), condition_shape(self.core.output_projections[modality])
        output = self.core(row)
        text = language_loss(output.logits, torch.tensor([labels]))
        made = self.core.conditions(row, output.last_hidden_state, modality)
        return torch.stack([text, caption_loss(made, target.view(1, *condition))])


def newest(case: Case, modalities: Iterable[str]) -> Reference:
    """The newest code's model: its projectors are described in words, ``transformer 64 -> 32 x 77``."""
    projections = {}
    for modality in modalities:
        width, channels, length = map(int, re.findall(r"\d+", case.config["projectors"][SHORT[modality]]))
        module = TransformerProjection(width, (length, channels)).eval()
        projections[modality] = fill(module, f"model.mm_output_{SHORT[modality]}_projector.")
    spans = {modality: tuple(span) for modality, span in case.config["signal_ids"].items() if modality in SHORT}
    return Reference(case.config["llm"], spans, projections)


def losses(case: Case) -> Iterator[Comparison]:
    references = {key.removesuffix(".cap"): value for key, value in case.group("outputs/").items()}
    model, separator = newest(case, references), case.config["signal_ids"]["separator_piece"]
    for modality, reference in references.items():
        first, last = case.config["signal_ids"][modality]
        span = [i for signal in range(first, last + 1) for i in (signal, separator)][:-1]
        ids = [case.config["llm"]["bos"], 5, 6, 7, *span, case.config["llm"]["eos"]]
        length, channels = condition_shape(model.core.output_projections[modality])
        target = noise(8, channels) if length == 1 else noise(8, length, channels)
        own = model.ids(ids)
        text, caption = model.losses(own, [-100] * 4 + own[4:], modality, target)
        yield Comparison(modality, torch.stack([text, caption, text + caption]), reference, LOSS)


def generation(case: Case) -> Iterator[Comparison]:
    """Conditions of a generated reply, by teacher forcing and step by step from the cache."""
    references = {key.removesuffix("_prompt_embeds"): value for key, value in case.group("outputs/").items()}
    model = newest(case, references)
    full = [model.ids(row) for row in case.group("inputs/")["full_ids"].tolist()]
    first = [next(at for at, i in enumerate(row) if i >= model.core.table.first_signal) for row in full]
    completed = [model.core.table.complete(row[at:]) for row, at in zip(full, first, strict=True)]
    yield equal("whole spans are left as they are", [repaired for *_, repaired in completed], [0] * len(full))
    forced = [
        forced_conditions(model.core, row[:at], [], reply)
        for row, at, (reply, *_) in zip(full, first, completed, strict=True)
    ]
    hidden = stepwise(model.core, torch.tensor(full))
    for modality, reference in references.items():
        length = condition_shape(model.core.output_projections[modality])[0]
        shape = reference.shape if length > 1 else (len(reference), 1, reference.shape[-1])
        reference = reference.view(shape)
        in_rows = [condition for row in forced for condition in row.get(modality, [])]
        yield Comparison(f"{modality}, forced", torch.stack(in_rows), reference, LOSS)
        cached = model.core.conditions(torch.tensor(full), hidden, modality)
        yield Comparison(f"{modality}, generated", cached, reference, LOSS)


def legacy_losses(case: Case) -> Iterator[Comparison]:
    """The first release's three stages; the third counts the caption loss twice."""
    config, outputs = case.config, case.group("outputs/")
    shapes = {m: [*map(int, s.split(","))] for m, s in re.findall(r"(\w+) rnd\(([\d,]+)\)", config["targets"])}
    wanted = {key.split(".")[1] for key in outputs if not key.startswith("stage1")}
    projections = {m: legacy_projection(config["hidden_size"], shapes[m][1:]) for m in wanted}
    vocabulary = legacy_vocabulary(case)
    counts, spans = counts_of(vocabulary), {}
    first = config["vocab_size"] - sum(counts.values())
    for modality, count in counts.items():
        spans[modality] = first, first + count - 1
        first += count
    model = Reference(config | {"rms_norm_eps": LEGACY_EPSILON}, spans, projections)
    tokenizer, _ = tokenizer_of(vocabulary, LEGACY_EXTRA)
    for key, reference in outputs.items():
        stage, _, rest = key.partition(".")
        asked, answered = LEGACY_TURNS[stage]
        medium = "image" if stage == "stage1" else None
        answer = answered if stage == "stage1" else f"{answered}<{rest}>"
        ids, labels = legacy([("human", asked), ("gpt", answer)], tokenizer, model.core.table, medium)
        if key == "stage1.targets":
            yield equal(key, [labels], in_our_ids_of_rows(reference.tolist(), model))
        elif key == "stage1":
            given = noise(5, 1, 1, config["hidden_size"])[None]  # (B, M, P, E)
            with torch.no_grad():
                output = model.core(torch.tensor([ids]), media_embeddings=given)
            yield Comparison(key, language_loss(output.logits, torch.tensor([labels]))[None], reference, LOSS)
        else:
            text, caption = model.losses(ids, labels, rest, noise(*shapes[rest]))
            total = text + (2 if stage == "stage3" else 1) * caption
            yield Comparison(key, torch.stack([total, caption]), reference, LOSS)


def in_our_ids_of_rows(rows: list[list[int]], model: Reference) -> list[list[int]]:
    return [[-100 if i == -100 else model.ours[i] for i in row] for row in rows]


def legacy_projection(model_width: int, shape: list[int]) -> TransformerProjection:
    """The first release's output projection, under the names that it has inside its own module."""
    condition = (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
    renamed = {new: old for old, new in LEGACY_NAMES.items()}
    return fill(TransformerProjection(model_width, condition).eval(), renamed=renamed)


def legacy_vocabulary(case: Case) -> dict[str, int]:
    """The vocabulary of the prompt cases, which the losses share; ours where the case's folder has none."""
    files = [*case.path.parent.glob("*.json"), *(GOLDEN / case.system).rglob("*.json")]
    records = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    return next(record["vocab"] for record in records if "vocab" in record)


@torch.no_grad()
def stepwise(core: AnyToAnyCore, ids: torch.Tensor) -> torch.Tensor:
    """Last hidden states (B, T, D) of ids (B, T) that come in one by one."""
    states, cache = [], None
    for token in ids.split(1, dim=1):
        output = core(token, past_key_values=cache, use_cache=True)
        states.append(output.last_hidden_state)
        cache = output.past_key_values
    return torch.cat(states, dim=1)


def condition_shape(projection: nn.Module) -> tuple[int, int]:
    assert isinstance(projection, TransformerProjection), type(projection)
    return projection.query_embs.shape[1], projection.out_fc.out_features
