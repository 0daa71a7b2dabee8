"""Golden cases of ImageBind-LLM: bind network, mixing, cache, the whole model, unCLIP embeddings; Point-BERT."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.nn import functional
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from adapters import BindNetwork, GatedPrompts, PromptBatch, VisualCache, image_embedding, mix
from adapters import attention as gated_attention
from adapters.imagebind_llm import PUBLISHED, own_name
from encoders.points import PointConfig, PointEncoder, group_points
from tests.parity.cases import Case, Comparison, gradient_of

OUTPUT, GRADIENT, STATED = 1e-5, 1e-4, 2e-5
EMBEDDINGS = {"Image": "emb_vision", "Audio": "emb_audio", "Text": "emb_text", "Point": "emb_point"}
#: Meta's names of a layer's linear maps -> transformers'.
LINEAR = {
    "attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}  # fmt: skip
OTHERS = {
    "attention_norm.weight": "input_layernorm.weight", "ffn_norm.weight": "post_attention_layernorm.weight",
    "tok_embeddings.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}  # fmt: skip


def kind(case: Case) -> str:
    """What a case of ImageBind-LLM is. ValueError for one that is not known."""
    if {"num_group", "group_size", "trans_dim"} <= set(case.config):
        return "point_encoder"
    if {"query_layer", "vdim", "legacy_bridge"} <= set(case.config):
        return "imagebind_llm" if "inputs/tokens" in case.tensors else "imagebind_llm_bridge"
    raise ValueError(f"unknown ImageBind-LLM case {case.name!r} with config {sorted(case.config)}")


def bridge(case: Case) -> Iterator[Comparison]:
    """The bind network's output for one input and for a mixture, with and without the visual cache."""
    network, outputs = BindNetwork.from_published(case.weights()), case.group("outputs/")
    for key in sorted(name for name in outputs if name.startswith("visual_")):
        with torch.no_grad():
            yield stated(key, visual(case, network, key), outputs[key])
    yield from unclip(case)


def visual(case: Case, network: BindNetwork, key: str) -> torch.Tensor:
    """(B, 1, D) of ``visual_{image|audio|...|mix}_{nocache|cache<i>}``."""
    found = re.fullmatch(r"visual_(\w+)_(nocache|cache\d+)", key)
    assert found is not None, key
    what, how = found.groups()
    weights = case.config["mix"] if what == "mix" else {what.capitalize(): 1}
    mixed = mix([case.tensors[f"inputs/{EMBEDDINGS[name]}"] for name in weights], list(weights.values()))
    if how != "nocache":
        mixed = cache_of(case, int(how.removeprefix("cache")))(mixed)
    return network(mixed[:, None])


def cache_of(case: Case, number: int | None = None) -> VisualCache:
    """The cache with the case's settings of that number, or with the paper's."""
    settings = {"k": 10, "t": 20, "weight": 0.5} if number is None else case.config["cache"][number]
    return VisualCache(case.tensors["inputs/cache_bank"], settings["k"], float(settings["t"]), settings["weight"])


def unclip(case: Case) -> Iterator[Comparison]:
    """What the picture pipeline is given."""
    settings = case.config["unclip"]
    for key, expected in case.group("outputs/unclip_image_embeds_row").items():
        row = slice(int(key), int(key) + 1)
        weights = settings["weights"]
        modalities = ["points" if name == "Point" else name for name in weights]
        embeddings = [case.tensors[f"inputs/{EMBEDDINGS[name]}"][row] for name in weights]
        projections = [settings["prenorm_scale"] * embedding for embedding in embeddings]
        cache = None if settings["cache"] is None else cache_of(case, settings["cache"])
        found = image_embedding(modalities, projections, list(weights.values()), cache)
        yield stated(f"unclip_image_embeds_row{key}", found, expected)


@dataclass
class Assembled:
    """The language model with LoRA and biases, its prompts and its bind network."""

    language_model: LlamaForCausalLM
    prompts: GatedPrompts
    network: BindNetwork
    heads: int

    def train_everything(self) -> None:
        for part in (self.language_model, self.prompts, self.network):
            part.requires_grad_(True)

    def logits(self, ids: torch.Tensor, media: torch.Tensor, past=None) -> tuple[torch.Tensor, object]:
        """Every token sees the row's medium (B, 1, D)."""
        seen = torch.ones(*ids.shape, 1, dtype=torch.bool)
        output = self.language_model(
            ids, past_key_values=past, use_cache=past is not None, prompt_batch=PromptBatch(self.prompts, media, seen)
        )
        return output.logits, output.past_key_values


def assemble(case: Case) -> Assembled:
    """Build and load everything; names that are left over are an error."""
    config, weights = case.config, case.weights()
    heads, layers, queries = config["n_heads"], config["n_layers"], config["query_len"]
    table = weights["llama.tok_embeddings.weight"]
    language_model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(table), hidden_size=config["dim"], num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=len(weights["llama.layers.0.feed_forward.w1.weight"]), rms_norm_eps=config["norm_eps"],
            attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
        )
    ).eval()  # fmt: skip
    language_model.set_attn_implementation(gated_attention.register())
    rank = config["lora_rank"]
    names = [name.partition(".")[2] for name in LINEAR.values()]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=names), language_model)
    prompts = GatedPrompts(
        layers,
        heads,
        config["dim"],
        media_tokens=queries,
        media_layers=config["query_layer"],
        keys=queries > 1,
        media_last=True,
        reach="row",
    )
    assembled = Assembled(language_model, prompts, BindNetwork.from_published(weights), heads)
    parts = dict(language_model.named_parameters())
    with torch.no_grad():
        for name in ("k_proj", "v_proj"):  # the reference has no bias there
            for layer in language_model.model.layers:
                getattr(layer.self_attn, name).base_layer.bias.zero_()
        for name, value in weights.items():
            if name.startswith("llama.") and not name.endswith("attention.gate"):
                parts[ours(name)].copy_(turned(name, value, heads))
        prompts.layer_query.copy_(weights["prefix_query.weight"].view(prompts.layer_query.shape))
        for index in range(config["query_layer"]):
            layer = layers - config["query_layer"] + index
            prompts.media_gate[index] = weights[f"llama.layers.{layer}.attention.gate"].flatten()
    return assembled


def ours(published: str) -> str:
    """The name in the language model of a reference parameter."""
    name = published.removeprefix("llama.")
    if name in OTHERS:
        return OTHERS[name]
    _, layer, rest = name.split(".", 2)
    if rest in OTHERS:
        return f"model.layers.{layer}.{OTHERS[rest]}"
    if lora := re.fullmatch(r"(\w+)\.lora_(w\w)_l([12])\.weight", rest):
        matrix = "lora_A" if lora[3] == "1" else "lora_B"
        return f"model.layers.{layer}.{LINEAR[f'{lora[1]}.{lora[2]}']}.{matrix}.default.weight"
    linear, _, kind_of = rest.rpartition(".")
    return f"model.layers.{layer}.{LINEAR[linear]}.base_layer.{kind_of}"


def turned(name: str, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries and keys, from rotary pairs (2i, 2i + 1) to halves (i, i + n/2)."""
    if not re.search(r"attention\.(w[qk]\.|lora_w[qk]_l2)", name):
        return value
    return value.view(heads, -1, 2, *value.shape[1:]).transpose(1, 2).reshape(value.shape)


def whole(case: Case) -> Iterator[Comparison]:
    """Bridge, logits, loss, gradients, steps with a cache, greedy replies."""
    yield from bridge(case)
    assembled, outputs = assemble(case), case.group("outputs/")
    ids, labels = case.tensors["inputs/tokens"], case.tensors["inputs/labels"]
    assembled.train_everything()
    logits, _ = assembled.logits(ids, visual(case, assembled.network, "visual_image_nocache"))
    loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=0)
    loss.backward()
    yield stated("logits", logits, outputs["logits"])
    yield stated("loss", loss, outputs["loss"])
    yield from gradients(case, assembled)
    with torch.no_grad():
        media = visual(case, assembled.network, "visual_mix_cache0")
        found = steps(assembled, ids, media, case.config["prefill"])
        yield stated("steps", found, outputs["mix_prefill_plus_step_logits"])
        yield from replies(case, assembled)


def gradients(case: Case, assembled: Assembled) -> Iterator[Comparison]:
    parts, prompts = dict(assembled.language_model.named_parameters()), assembled.prompts
    first = case.config["n_layers"] - case.config["query_layer"]
    for name, expected in case.group("grads/").items():
        if name == "prefix_query.weight":
            found = gradient_of(prompts.layer_query).view(expected.shape)
        elif name.endswith("attention.gate"):
            index = int(name.split(".")[2]) - first
            gates = gradient_of(prompts.media_gate)
            found = gates[index].view(expected.shape) if index >= 0 else torch.zeros_like(expected)
        elif name.startswith(PUBLISHED):
            found = gradient_of(assembled.network.get_parameter(own_name(name)))
        else:
            found, expected = gradient_of(parts[ours(name)]), turned(name, expected, assembled.heads)
        yield Comparison(f"gradient of {name}", found, expected, GRADIENT)


def steps(assembled: Assembled, ids: torch.Tensor, media: torch.Tensor, prefill: int) -> torch.Tensor:
    """Last logits of the first ``prefill`` tokens, then those of one token a step with a cache: (B, 1 + steps, V)."""
    past = DynamicCache()
    parts = [ids[:, :prefill], *ids[:, prefill:].split(1, dim=1)]
    return torch.cat([assembled.logits(part, media, past)[0][:, -1:] for part in parts], dim=1)


def replies(case: Case, assembled: Assembled) -> Iterator[Comparison]:
    """Greedy ids of each row alone. Lengths stand in the words of the json."""
    words = case.record["keys"]["outputs/generate_greedy_row{i}"]
    found = re.search(r"tokens\[i,:(\d+)\], at most (\d+) ids, cut before eos \((\d+)\)", words)
    assert found is not None, words
    given, most, end = (int(number) for number in found.groups())
    weights = case.config["mix"]
    for key, expected in case.group("outputs/generate_greedy_row").items():
        row = slice(int(key), int(key) + 1)
        mixed = mix([case.tensors[f"inputs/{EMBEDDINGS[name]}"][row] for name in weights], list(weights.values()))
        media = assembled.network(cache_of(case)(mixed)[:, None])
        ids = case.tensors["inputs/tokens"][row, :given]
        for _ in range(most):
            ids = torch.cat([ids, assembled.logits(ids, media)[0][:, -1:].argmax(-1)], dim=1)
        reply = ids[0, given:].tolist()
        reply = reply[: reply.index(end)] if end in reply else reply
        yield Comparison(f"generate_greedy_row{key}", torch.tensor(reply, dtype=torch.long), expected, 0)


@torch.no_grad()
def point_encoder(case: Case) -> Iterator[Comparison]:
    """Groups, features and embedding of Point-BERT with the sampling start that the case gives."""
    weights, config = case.weights(), case.config
    projection, head = weights["pc_projection"], weights["head.2.weight"]
    first, second, third = (
        len(weights[f"enc.encoder.{name}.weight"]) for name in ("first_conv.0", "first_conv.3", "second_conv.0")
    )
    model = PointEncoder(
        PointConfig(
            width=config["trans_dim"], depth=config["depth"], heads=config["num_heads"], groups=config["num_group"],
            group_size=config["group_size"], patch_output=config["encoder_dims"],
            patch_widths=(first, second, third), position_width=len(weights["enc.pos_embed.0.weight"]),
            projection_width=projection.shape[1], shared_width=len(head),
        )
    ).eval()  # fmt: skip
    model.load_state_dict(weights)
    points, start = case.tensors["inputs/points"], case.tensors["inputs/fps_start"]
    outputs = case.group("outputs/")
    centres, groups = group_points(points, config["num_group"], config["group_size"], start)
    yield stated("center", centres, outputs["center"])
    yield stated("neighborhood", groups.sort(dim=2).values, outputs["neighborhood"].sort(dim=2).values)
    yield stated("feat", model.enc(points, start), outputs["feat"])
    yield stated("embed", model(points, start), outputs["embed"])


def stated(name: str, found: torch.Tensor, reference: torch.Tensor) -> Comparison:
    """The tolerance of outputs, or the json's own absolute 2e-5 where that allows more."""
    scale = float(reference.abs().max()) or 1.0
    return Comparison(name, found, reference, max(OUTPUT, STATED / scale))


KINDS: dict[str, Callable[[Case], Iterable[Comparison]]] = {
    "imagebind_llm": whole,
    "imagebind_llm_bridge": bridge,
    "point_encoder": point_encoder,
}
