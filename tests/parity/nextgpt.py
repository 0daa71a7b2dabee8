"""NExT-GPT's golden cases: which kinds there are, projections, encoder tower, log-mel.

The model with its signal tokens has a module of its own, nextgpt_model, and so have prompts, nextgpt_prompts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from adapters import GroupProjection, PatchLinear, PatchMlp, QFormerProjection, TransformerProjection
from adapters.output_projection import LEGACY_NAMES, from_legacy_names
from decoders.mel import log_mel
from encoders.imagebind import ImageBind, ImageBindConfig, TowerConfig
from tests.parity.cases import Case, Comparison, gradient_of, load_file
from tests.parity.nextgpt_formula import by_formula
from tests.parity.nextgpt_model import generation, legacy_losses, losses
from tests.parity.nextgpt_prompts import prompts

OUTPUT, GRADIENT = 1e-5, 1e-4


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
    found = tensors | {published: p for name, p in module.named_parameters() for published in names_of(name)}
    for name, reference in references.items():
        yield Comparison(f"gradient of {name}", gradient_of(found[name]), reference, GRADIENT)


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


# -- the log-mel --------------------------------------------------------------------------------------------------


def audio_log_mel(case: Case) -> Iterator[Comparison]:
    """The sine of the notes, every fourth frame: its logarithm where it can be heard, its magnitude everywhere.

    Near the floor of 1e-5 stands the rounding of the sine itself, which differs from processor to processor.
    """
    reference = case.group("outputs/")["sine_logmel_sub4"]
    sine = torch.sin(torch.arange(len(reference) * 4 * 160) * 0.05) * 0.4
    tolerance = float(case.record["tolerance"]["fp32"]) / float(reference.abs().max())  # told as a difference
    ours, heard = log_mel(sine[None])[0, ::4], reference > -8
    yield Comparison("log-mel", ours[heard], reference[heard], max(tolerance, OUTPUT))
    yield Comparison("mel", ours.exp(), reference.exp(), OUTPUT)


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
