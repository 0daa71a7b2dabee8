"""NExT-GPT's golden cases: projections, encoder tower, prompts, losses, what its decoders get."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace
from torch import nn
from transformers import LlamaConfig, PreTrainedTokenizerFast

from adapters import GroupProjection, PatchLinear, PatchMlp, QFormerProjection, TransformerProjection
from adapters.output_projection import LEGACY_NAMES, from_legacy_names
from decoders.mel import log_mel
from encoders.imagebind import ImageBind, ImageBindConfig, TowerConfig
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.generate import signal_conditions
from nextgpt_lite.model import AnyToAnyCore, caption_loss, language_loss
from nextgpt_lite.published_prompts import legacy, vicuna
from nextgpt_lite.signal_tokens import SignalTable, add_to_tokenizer
from tests.parity.cases import GOLDEN, Case, Comparison, load_file

OUTPUT, GRADIENT, LOSS = 1e-5, 1e-4, 1e-4
SEPARATOR = "\u2581"
COUNTS = {"image": 4, "video": 24, "audio": 8}
MEDIA_IDS = {-200: "image", -300: "video", -400: "audio"}
SHORT = {"image": "img", "video": "vid", "audio": "aud"}
#: What is asked and answered in the stages of the first release; a signal span ends the answer of the last two.
LEGACY_TURNS = {
    "stage1": ("generate a caption", "a dog"),
    "stage2": ("a dog", "a dog"),
    "stage3": ("draw a dog", "ok"),
}
#: The first release's language model keeps its own epsilon, whatever the configuration says.
LEGACY_EPSILON = 1e-6


def kind(case: Case) -> str:
    config, outputs = case.config, [key for key in case.tensors if key.startswith("outputs/")]
    if "mm_hidden_size" in config:
        return "input_" + config.get("projector", "group")
    if "bert_hidden" in config:
        return "output_qformer"
    if "decoder_layers" in config:
        return "output_transformer"
    if "vision_embed_dim" in config:
        return "patch_tokens"
    if "conversations" in case.record:
        return "prompts"
    if "signal_ids" in config:
        return "losses" if any(key.endswith(".cap") for key in outputs) else "generation"
    if "targets" in config:
        return "legacy_losses"
    if any("logmel" in key for key in outputs):
        return "log_mel"
    raise ValueError(f"unknown kind of NExT-GPT case {case.name!r} with configuration {sorted(config)}")


# -- weights by formula -------------------------------------------------------------------------------------------


def by_formula(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weight of a name, as the jsons tell."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if len(shape) < 2:
        return 1 + 0.2 * values if key.endswith("weight") else 0.1 * values
    return values * shape[-1] ** -0.5


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def fill(module: nn.Module, prefix: str = "", renamed: dict[str, str] | None = None) -> nn.Module:
    """Give every parameter the weight of its published name: ``prefix`` and its own, whose start may be ``renamed``."""
    for name, parameter in module.named_parameters():
        start = next((new for new in renamed or {} if name.startswith(new)), "")
        published = (renamed or {}).get(start, "") + name.removeprefix(start)
        parameter.copy_(by_formula(prefix + published, tuple(parameter.shape)))
    return module


# -- projections --------------------------------------------------------------------------------------------------


def input_projection(case: Case) -> Iterator[Comparison]:
    config = case.config
    widths = config["mm_hidden_size"], config["hidden_size"]
    formula = case.record.get("weights_formula")
    if formula:
        salt, shapes = formula.get("salt", ""), formula["parameters"]
        weights = {name: by_formula(salt + name, tuple(shape)) for name, shape in shapes.items()}
    else:
        weights = case.weights()
    if config.get("projector", "group") == "group":
        module: nn.Module = GroupProjection(*widths, **group_sizes(weights, config))
    else:
        module = {"linear": PatchLinear, "mlp": PatchMlp}[config["projector"]](*widths)
    module.load_state_dict(weights)
    yield from compared(case, module.eval(), ["x"])


def group_sizes(weights: dict[str, torch.Tensor], config: dict) -> dict:
    """The settings of the grouping, from the shapes of its weights."""
    names = list(weights)
    stages = 1 + max(int(name.split(".")[1]) for name in names if name.startswith("layers."))
    blocks = [{n.split(".")[3] for n in names if n.startswith(f"layers.{i}.blocks.")} for i in range(stages)]
    tokens = [weights.get(f"layers.{i}.group_token") for i in range(stages)]
    return {
        "inner_width": weights["in_fc.weight"].shape[0],
        "depths": [len(found) for found in blocks],
        "heads": config.get("num_heads", 8),
        "group_tokens": [0 if token is None else token.shape[1] for token in tokens],
        "groups": [len(weights[f"layers.{i}.downsample.mlp_inter.fc2.bias"]) for i in range(stages - 1)],
    }


def output_transformer(case: Case) -> Iterator[Comparison]:
    config = case.config
    module = TransformerProjection(
        config["hidden_size"],
        (config["num_query_token"], config["out"]),
        width=config["width"],
        encoder_layers=config["encoder_layers"],
        decoder_layers=config["decoder_layers"],
        heads=config["nhead"],
        feed_forward=config["dim_feedforward"],
    )
    module.load_state_dict(from_legacy_names(case.weights()))
    yield from compared(case, module, ["h", "e"])


def output_qformer(case: Case) -> Iterator[Comparison]:
    config = case.config
    module = QFormerProjection(
        config["hidden_size"],
        (config["num_query_token"], config["out"]),
        width=config["bert_hidden"],
        heads=config["bert_heads"],
        layers=config["bert_layers"],
        feed_forward=config["bert_intermediate"],
        cross_attention_every=config["cross_attention_freq"],
    )
    module.load_state_dict(from_legacy_names(case.weights()))
    yield from compared(case, module, ["h", "e"])


def compared(case: Case, module: nn.Module, inputs: list[str]) -> Iterator[Comparison]:
    """What the module gives, and the gradients of (output x upstream).sum() that the case has."""
    given = case.group("inputs/")
    tensors = {name: given[name].requires_grad_() for name in inputs}
    output = module(*tensors.values())
    y = case.group("outputs/")["y"]
    yield Comparison("y", output, y, max(OUTPUT, stated_difference(case) / float(y.abs().max())))
    references = case.group("grads/")
    if not references:
        return
    (output * given["upstream"]).sum().backward()
    found = {name: tensor.grad for name, tensor in tensors.items()}
    found |= {published: p.grad for name, p in module.named_parameters() for published in names_of(name)}
    for name, reference in references.items():
        yield Comparison(f"gradient of {name}", found[name], reference, GRADIENT)


def stated_difference(case: Case) -> float:
    """The difference that the json allows, 0 where it names none."""
    found = re.search(r"max abs diff <= ([\d.e-]+)", case.record["tolerance"].get("fp32", ""))
    return float(found[1]) if found else 0.0


def names_of(name: str) -> list[str]:
    """A parameter's name and what the first release called it."""
    return [name, *(old + name.removeprefix(new) for old, new in LEGACY_NAMES.items() if name.startswith(new))]


# -- the encoder tower --------------------------------------------------------------------------------------------


@torch.no_grad()
def patch_tokens(case: Case) -> Iterator[Comparison]:
    """``new``: unit patch tokens averaged over clips. ``legacy``: the pooled embedding, without a logit scale."""
    model = two_towers(case)
    for key, source in case.record["inputs_from"].items():
        modality = key.split("_")[0]
        x = load_file(case.path.parent / source.split(" ")[0])["inputs/x"]
        clips = x.shape[1] if x.ndim >= 5 else 1
        tokens = model.patch_tokens(modality, x)  # (B, clips * patches, E)
        outputs = case.group("outputs/")
        yield Comparison(f"{key}.new", tokens.unflatten(1, (clips, -1)).mean(1), outputs[f"{key}.new"], OUTPUT)
        yield Comparison(f"{key}.legacy", model.unit(modality, x), outputs[f"{key}.legacy"], OUTPUT)


def two_towers(case: Case) -> ImageBind:
    """ImageBind's vision and audio towers with the case's weights."""
    config = case.config
    weights = {n: w for n, w in case.weights().items() if re.match(r"modality_\w+\.(vision|audio)\.", n)}
    kernel = tuple(config["kernel_size"])
    positions = weights["modality_preprocessors.vision.pos_embedding_helper.pos_embed"].shape[1] - 1
    side = round((positions * kernel[0] / config["video_frames"]) ** 0.5) * kernel[1]
    audio_kernel, audio_stride = (config["audio_kernel_size"],) * 2, (config["audio_stride"],) * 2
    vision = TowerConfig(
        config["vision_embed_dim"],
        config["vision_num_blocks"],
        config["vision_num_heads"],
        (3, config["video_frames"], side, side),
        kernel,
        kernel,
    )
    audio = TowerConfig(
        config["audio_embed_dim"],
        config["audio_num_blocks"],
        config["audio_num_heads"],
        (1, config["audio_num_mel_bins"], config["audio_target_len"]),
        audio_kernel,
        audio_stride,
        logit_scale=1.0,
    )
    model = ImageBind(ImageBindConfig(config["out_embed_dim"], {"vision": vision, "audio": audio})).eval()
    model.load_state_dict(weights)
    return model


# -- losses and generation ----------------------------------------------------------------------------------------


class Reference:
    """Our core with the weights of the reference's, whose signal ids stand in the middle of its vocabulary."""

    def __init__(self, sizes: dict, ids: dict[str, tuple[int, int]], projections: dict[str, nn.Module]) -> None:
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
        names = "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps"
        text = LlamaConfig(vocab_size=first, tie_word_embeddings=False, **{name: sizes[name] for name in names})
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
        silent = core.table.first_signal - core.table.first
        for layer, added, name in (
            (core.get_input_embeddings(), core.added_embedding, "model.embed_tokens.weight"),
            (core.get_output_embeddings(), core.added_output, "lm_head.weight"),
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
    spans = {modality: tuple(case.config["signal_ids"][modality]) for modality in COUNTS}
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
    full = model.ids(case.group("inputs/")["full_ids"][0].tolist())
    prompt, (reply, _, repaired) = full[:4], model.core.table.complete(full[4:])
    yield Comparison("a whole span is left as it is", torch.tensor(repaired), torch.tensor(0), 0)
    [forced] = signal_conditions(model.core, [(prompt, [], 0)], [reply])
    hidden = stepwise(model.core, full)
    for modality, reference in references.items():
        length = condition_shape(model.core.output_projections[modality])[0]
        shape = reference.shape if length > 1 else (len(reference), 1, reference.shape[-1])
        reference = reference.view(shape)
        yield Comparison(f"{modality}, forced", torch.stack(forced[modality]), reference, LOSS)
        cached = model.core.conditions(torch.tensor([full]), hidden, modality)
        yield Comparison(f"{modality}, generated", cached, reference, LOSS)


def legacy_losses(case: Case) -> Iterator[Comparison]:
    """The first release's three stages; the third counts the caption loss twice."""
    config, outputs = case.config, case.group("outputs/")
    shapes = {m: [*map(int, s.split(","))] for m, s in re.findall(r"(\w+) rnd\(([\d,]+)\)", config["targets"])}
    wanted = {key.split(".")[1] for key in outputs if not key.startswith("stage1")}
    projections = {m: legacy_projection(config["hidden_size"], shapes[m][1:]) for m in wanted}
    first = config["vocab_size"] - sum(COUNTS.values())
    spans = {}
    for modality, count in COUNTS.items():
        spans[modality] = first, first + count - 1
        first += count
    model = Reference(config | {"rms_norm_eps": LEGACY_EPSILON}, spans, projections)
    tokenizer, _ = tokenizer_of(legacy_vocabulary(case), ("<Img>", "</Img>"))
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
    files = [*case.path.parent.glob("*.json"), *(GOLDEN / case.system).glob("*.json")]
    records = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    return next(record["vocab"] for record in records if "vocab" in record)


@torch.no_grad()
def stepwise(core: AnyToAnyCore, ids: list[int]) -> torch.Tensor:
    """Last hidden states (1, T, D) of ids that come in one by one."""
    states, cache = [], None
    for token in ids:
        output = core(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        states.append(output.last_hidden_state)
        cache = output.past_key_values
    return torch.cat(states, dim=1)


def condition_shape(projection: TransformerProjection) -> tuple[int, int]:
    return projection.query_embs.shape[1], projection.out_fc.out_features


# -- prompts ------------------------------------------------------------------------------------------------------


def tokenizer_of(vocab: dict[str, int], extra: tuple[str, ...] = ()) -> tuple[PreTrainedTokenizerFast, SignalTable]:
    """The case's character tokenizer without its signal tokens, then with ours."""
    base = {token: row for token, row in vocab.items() if not re.fullmatch(r"<(image|video|audio)_\d+>", token)}
    first = min(row for token, row in vocab.items() if token not in base)
    base = {token: row for token, row in base.items() if row < first}
    base |= {token: first + i for i, token in enumerate(extra)}
    tokenizer = Tokenizer(BPE(vocab=base, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = Metaspace(replacement=SEPARATOR, prepend_scheme="first", split=False)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", *extra])
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    return fast, add_to_tokenizer(fast, COUNTS)


def in_our_ids(reference: list[int], table: SignalTable, vocab: dict[str, int]) -> list[int]:
    """Ids or labels of the reference in ours.

    Media ids become placeholders, spaces between signals are left out, and so is the start token that the reference
    repeats after a video or a sound.
    """
    bos, separator, row = vocab["<s>"], vocab[SEPARATOR], []
    shift = table.first_signal - table.first

    def is_signal(at: int) -> bool:
        return 0 <= at < len(reference) and reference[at] >= table.first

    for at, i in enumerate(reference):
        if i in MEDIA_IDS:
            row.append(table.placeholders[MEDIA_IDS[i]])
        elif not (i == separator and is_signal(at - 1) and is_signal(at + 1)):
            row.append(i + shift if is_signal(at) else i)
    return [i for at, i in enumerate(row) if not (at and i == bos)]


def prompts(case: Case) -> Iterator[Comparison]:
    vocab, outputs = case.record["vocab"], case.group("outputs/")
    tokenizer, table = tokenizer_of(vocab)
    for name, conversation in case.record["conversations"].items():
        ids, labels = vicuna([tuple(turn) for turn in conversation], tokenizer, table)
        reference = outputs[f"{name}.ids"].tolist()
        kept = kept_places(reference, table, vocab)
        yield equal(f"{name}.ids", ids, in_our_ids(reference, table, vocab))
        theirs = [outputs[f"{name}.labels"].tolist()[at] for at in kept]
        yield equal(f"{name}.labels", labels, in_our_ids(theirs, table, vocab))
    yield from legacy_prompts(vocab, outputs)


def kept_places(reference: list[int], table: SignalTable, vocab: dict[str, int]) -> list[int]:
    """Places of the reference's ids that have one in ours."""
    bos, separator = vocab["<s>"], vocab[SEPARATOR]
    signals = {at for at, i in enumerate(reference) if i >= table.first}
    return [
        at
        for at, i in enumerate(reference)
        if not (at and i == bos) and not (i == separator and {at - 1, at + 1} <= signals)
    ]


def legacy_prompts(vocab: dict[str, int], outputs: dict[str, torch.Tensor]) -> Iterator[Comparison]:
    """The first release's three stages; its ids begin after ``### Human:`` and the medium."""
    tokenizer, table = tokenizer_of(vocab, ("<Img>", "</Img>"))
    for stage, (asked, answered) in LEGACY_TURNS.items():
        key = f"legacy.process_batch_stage_{stage[-1]}"
        if f"{key}.ids" not in outputs:
            continue
        given, made = ("image", "") if stage == "stage1" else (None, "<image>")
        ids, labels = legacy([("human", asked), ("gpt", answered + made)], tokenizer, table, given)
        reference = outputs[f"{key}.ids"][0].tolist()
        kept = kept_places(reference, table, vocab)
        yield equal(f"{key}.ids", ids[-len(kept) :], in_our_ids(reference, table, vocab))
        theirs = [outputs[f"{key}.labels"][0].tolist()[at] for at in kept]
        yield equal(f"{key}.labels", labels[-len(kept) :], in_our_ids(theirs, table, vocab))


def equal(name: str, ours: list[int], reference: list[int]) -> Comparison:
    return Comparison(name, torch.tensor(ours), torch.tensor(reference), 0)


# -- the log-mel --------------------------------------------------------------------------------------------------


def audio_log_mel(case: Case) -> Iterator[Comparison]:
    """The sine of the notes, every fourth frame."""
    reference = case.group("outputs/")["sine_logmel_sub4"]
    sine = torch.sin(torch.arange(len(reference) * 4 * 160) * 0.05) * 0.4
    tolerance = float(case.record["tolerance"]["fp32"]) / float(reference.abs().max())  # told as a difference
    yield Comparison("log-mel", log_mel(sine[None])[0, ::4], reference, max(tolerance, OUTPUT))


KINDS: dict[str, Callable[[Case], Iterable[Comparison]]] = {
    "input_linear": input_projection,
    "input_mlp": input_projection,
    "input_group": input_projection,
    "output_transformer": output_transformer,
    "output_qformer": output_qformer,
    "patch_tokens": patch_tokens,
    "prompts": prompts,
    "losses": losses,
    "generation": generation,
    "legacy_losses": legacy_losses,
    "log_mel": audio_log_mel,
}
