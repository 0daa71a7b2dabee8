"""Published files of every format at tiny size, in their own layouts, and bases that they are put on.

The weights of LLaMA-Adapter and ImageBind-LLM are those of the golden cases, parted as their authors part them: the
language model in one folder, what was trained in a file beside it.
"""

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from encoders.media_encoder import MediaEncoder
from encoders.open_clip import OpenClipConfig, OpenClipVision
from nextgpt_lite.released_weights.meta_llama import clip_weights, translate
from tests.parity.cases import GOLDEN, Case, _read
from tests.parity.llama_adapter import text_config
from tests.tiny_model import tiny_encoder
from tests.tiny_transformers import save_clip

Tensors = dict[str, torch.Tensor]


@dataclass
class Given:
    """What a command of a format is given: files by name, the base, settings."""

    files: dict[str, Any]
    base: Path | None
    settings: dict[str, Any] = field(default_factory=dict)
    main: str = ""  #: the file that mutations change

    def write(self, folder: Path) -> Path:
        """The files in a folder of their own."""
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            if isinstance(content, bytes):
                (folder / name).write_bytes(content)
            elif isinstance(content, str):
                (folder / name).write_text(content)
            else:
                torch.save(content, folder / name)
        return folder

    def words(self, name: str, folder: Path, out: Path) -> list[str]:
        """The arguments of the command line."""
        base = [] if self.base is None else ["--base", str(self.base)]
        settings = [word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")]
        return ["import-weights", name, str(folder), *base, "--out", str(out), *settings]


@cache
def golden(name: str) -> Case:
    return _read(GOLDEN / "llama_adapter" / f"{name}.json", "llama_adapter")


def letters(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of ``size`` tokens: one a character, and some that no text has."""
    pieces = ["<unk>", "<s>", "</s>", *map(chr, range(32, 127)), "\n"]
    pieces += [f"<{number}>" for number in range(size - len(pieces))]
    vocabulary = {piece: number for number, piece in enumerate(pieces[:size])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )


NORMS = re.compile(r"(llama\.)?(norm|layers\.\d+\.(attention_norm|ffn_norm))\.weight")
BASE = re.compile(NORMS.pattern + r"|(llama\.)?(tok_embeddings|output|layers\.\d+\.\w+\.w[qkvo123])\.weight")


def is_base(name: str) -> bool:
    """Whether a name of Meta's layout is the language model's own."""
    return BASE.fullmatch(name) is not None


def trained(name: str) -> bool:
    """Whether V2's files have a name: all but the language model's weights, and of these the norms."""
    return not is_base(name) or NORMS.fullmatch(name) is not None


def write_llama(folder: Path, case: Case) -> Path:
    """The language model of a case as Transformers has it, with a tokenizer."""
    config, weights = case.config, case.weights()
    own = {name: value for name, value in weights.items() if is_base(name)}
    model = LlamaForCausalLM(text_config(config, own))
    state = translate(own, layers=config["n_layers"], heads=config["n_heads"])
    names = {name.removeprefix("language_model."): value for name, value in state.items()}
    model.load_state_dict(names)
    model.save_pretrained(folder)
    letters(config["vocab_size"]).save_pretrained(folder)
    return folder


def random_llama(folder: Path, rows: int = 128, seed: int = 9, **changes: Any) -> Path:
    """A Llama whose every number is something, with a tokenizer of as many tokens as it has rows."""
    sizes: dict[str, Any] = {
        "vocab_size": rows, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "max_position_embeddings": 512, "tie_word_embeddings": False,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**sizes | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    letters(rows).save_pretrained(folder)
    return folder


def write_model(folder: Path, language_model: Path, **parts: Path) -> Path:
    """A model folder without a core, as ``compose`` writes it."""
    from nextgpt_lite.compose.composition import Composition, Part
    from nextgpt_lite.compose.folder import compose

    given = {"language_model": language_model, **parts}
    compose(Composition({name: Part(str(path)) for name, path in given.items()}), folder)
    return folder


# -- LLaMA-Adapter --------------------------------------------------------------------------------------------------


def adapter_v1(folder: Path) -> Given:
    case = golden("v1")
    own = {name: value for name, value in case.weights().items() if not is_base(name)}
    name = "llama_adapter_len5_layer3_release.pth"
    return Given({name: own}, write_llama(folder / "llama", case), main=name)


def adapter_v2(folder: Path, name: str = "v2_bias") -> Given:
    """BIAS-7B or LORA-BIAS-7B: all but the language model and CLIP; the norms are the language model's."""
    case = golden(name)
    config, weights = case.config, case.weights()
    own = {n: w for n, w in weights.items() if trained(n) and not n.startswith("clip.")}
    sizes = config["clip"]
    tower = OpenClipVision(
        OpenClipConfig(
            sizes["res"], sizes["patch"], sizes["width"], sizes["layers"], sizes["heads"], sizes["out"], channels="bgr"
        )
    )
    tower.load(clip_weights(weights))
    tower.save_pretrained(folder / "clip")
    llama = write_llama(folder / "llama", case)
    base = write_model(folder / "base", llama, vision_tower=folder / "clip")
    settings = {key: config[key] for key in ("w_bias", "w_lora", "lora_rank", "w_new_gate")}
    return Given(
        {"7B.pth": {"model": own, "config": settings}}, base, {"visual_heads": config["v_num_heads"]}, "7B.pth"
    )


def adapter_chat(folder: Path, name: str = "v2_chat65b_prompt") -> Given:
    """Two shards, split as Meta's model parallel layers split them."""
    case = golden(name)
    own = {n: w for n, w in case.weights().items() if trained(n)}
    shards = [{n: shard(n, w, number) for n, w in own.items()} for number in range(2)]
    files = {f"consolidated.{number:02}.pth": each for number, each in enumerate(shards)}
    settings = {"prompt_tokens": case.config["adapter_len"]} if case.config["adapter_len"] else {}
    return Given(files, write_llama(folder / "llama", case), settings, "consolidated.00.pth")


def shard(name: str, value: torch.Tensor, number: int) -> torch.Tensor:
    """One of two shards of what lies beside a linear, or of a gate."""
    linear, _, kind = name.rpartition(".")[2].rpartition("_")
    by_output, by_input = ("wq", "wk", "wv", "w1", "w3"), ("wo", "w2")
    if (kind == "bias" and linear in by_output) or (kind == "scale" and linear in by_input):
        value = value.chunk(2, 0)[number]
    elif name.endswith(".gate"):
        value = value.chunk(2, 1)[number]
    return value.contiguous()


# -- ImageBind-LLM --------------------------------------------------------------------------------------------------


def imagebind_llm(folder: Path) -> Given:
    """7B.pth with what some files carry besides, and the golden case's vectors as faiss would write them."""
    case = golden("imagebind_llm_rms")
    own = {name.replace("llama.", "llma.", 1): value for name, value in case.weights().items() if trained(name)}
    unused = {"prefix_projector_norm.weight": torch.ones(3), "image_bind.logit_scale": torch.ones(())}
    first = next(iter(own))
    own = {first: own[first]} | unused | own
    tiny_encoder().save_pretrained(folder / "encoder")
    base = write_model(folder / "base", write_llama(folder / "llama", case), encoder=folder / "encoder")
    index = flat_index(case.tensors["inputs/cache_bank"])
    return Given({"7B.pth": own, "knn.index": index}, base, main="7B.pth")


def flat_index(vectors: torch.Tensor, kind: bytes = b"IxFI", metric: int = 0) -> bytes:
    header = struct.pack(
        "<4siqqqBiQ", kind, vectors.shape[1], len(vectors), 1 << 20, 1 << 20, 1, metric, vectors.numel()
    )
    return header + vectors.float().numpy().tobytes()


def seeded_encoder() -> MediaEncoder:
    torch.manual_seed(3)
    return tiny_encoder()


def imagebind(folder: Path | None = None) -> Given:
    """ImageBind and Point-BERT of the sizes that :func:`tests.tiny_model.tiny_encoder` has."""
    encoder = seeded_encoder()
    state = encoder.state_dict()
    towers = {name.removeprefix("imagebind."): v for name, v in state.items() if name.startswith("imagebind.")}
    points = {name.removeprefix("points."): value for name, value in state.items() if name.startswith("points.")}
    return Given({"imagebind_huge.pth": towers, "point_bert.pt": points}, None, main="imagebind_huge.pth")


# -- LLaVA, LongLoRA, Meta's Llama ----------------------------------------------------------------------------------

LINEARS = {"q_proj": "self_attn", "v_proj": "self_attn", "up_proj": "mlp"}
RECIPE = {"mm_projector_type": "mlp2x_gelu", "mm_hidden_size": 24, "hidden_size": 64, "num_hidden_layers": 3,
          "mm_vision_select_layer": -2, "mm_vision_tower": "openai/clip-vit-tiny", "vocab_size": 128,
          "image_aspect_ratio": "pad"}  # fmt: skip


def projector(prefix: str = "model.") -> Tensors:
    """The projector of LLaVA 1.5 between the tower of :func:`save_clip` and :func:`random_llama`."""
    torch.manual_seed(4)
    shapes = {"0.weight": (64, 24), "0.bias": (64,), "2.weight": (64, 64), "2.bias": (64,)}
    return {f"{prefix}mm_projector.{name}": torch.randn(shape) for name, shape in shapes.items()}


def lora(
    adapter: str = "", linears: dict[str, str] | None = None, rank: int = 2, prefix: str = "base_model.model."
) -> Tensors:
    """LoRA on linears of :func:`random_llama`, as peft names it."""
    torch.manual_seed(5)
    found = {}
    for layer in range(3):
        for name, room in (linears or LINEARS).items():
            outputs = 96 if name == "up_proj" else 64
            own = f"{prefix}model.layers.{layer}.{room}.{name}"
            found[f"{own}.lora_A{adapter}.weight"] = torch.randn(rank, 64)
            found[f"{own}.lora_B{adapter}.weight"] = torch.randn(outputs, rank)
    return found


def adapter_config(**changes: Any) -> str:
    values = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": [*LINEARS], "bias": "none"}
    return json.dumps(values | {"fan_in_fan_out": False, "modules_to_save": None, "lora_dropout": 0.05} | changes)


def llava_base(folder: Path) -> Path:
    return write_model(folder / "base", random_llama(folder / "llama"), encoder=save_clip(folder / "clip"))


def llava_projector(folder: Path) -> Given:
    files = {"mm_projector.bin": projector(), "config.json": json.dumps(RECIPE)}
    return Given(files, llava_base(folder), main="mm_projector.bin")


def llava_lora(folder: Path) -> Given:
    files = {"adapter_model.bin": lora(), "adapter_config.json": adapter_config(), "config.json": json.dumps(RECIPE)}
    files["non_lora_trainables.bin"] = projector("base_model.model.model.")
    return Given(files, llava_base(folder), main="adapter_model.bin")


def longlora(folder: Path) -> Given:
    """LoRA, and norms and embeddings a little away from the base's, with a row for a padding token."""
    base = random_llama(folder / "llama")
    state = load_file(base / "model.safetensors")
    torch.manual_seed(6)
    whole = {f"base_model.model.{n}": v + 0.01 * torch.randn(v.shape) for n, v in state.items() if "norm" in n}
    embedding = state["model.embed_tokens.weight"]
    whole["base_model.model.model.embed_tokens.weight"] = torch.cat([embedding + 0.01, torch.randn(1, 64)])
    files = {"adapter_model.bin": lora(), "adapter_config.json": adapter_config(), "trainable_params.bin": whole}
    return Given(files, base, {"length": 1024}, "adapter_model.bin")


def meta_llama(folder: Path) -> Given:
    """The golden case's Llama in two shards, its tokenizer in a folder of its own."""
    case = golden("v1")
    own = {name: value for name, value in case.weights().items() if is_base(name)}
    files: dict[str, Any] = {
        f"consolidated.{n:02}.pth": {k: meta_shard(k, v, n) for k, v in own.items()} for n in (0, 1)
    }
    sizes = {"dim": 64, "n_layers": 4, "n_heads": 4, "multiple_of": 32, "norm_eps": 1e-5, "vocab_size": -1}
    letters(128).save_pretrained(folder / "tokenizer")
    return Given(files | {"params.json": json.dumps(sizes)}, folder / "tokenizer", main="consolidated.00.pth")


def meta_shard(name: str, value: torch.Tensor, number: int) -> torch.Tensor:
    """One of two shards of Meta's model parallel layers."""
    part = name.rpartition(".")[0].rpartition(".")[2]
    axis = {"tok_embeddings": 1, "wo": 1, "w2": 1} | dict.fromkeys(("wq", "wk", "wv", "w1", "w3", "output"), 0)
    return value.chunk(2, axis[part])[number].clone() if part in axis else value


MAKERS: dict[str, Callable[[Path], Given]] = {
    "llama_adapter_v1": adapter_v1,
    "llama_adapter_v2": lambda folder: adapter_v2(folder, "v2_lora"),
    "llama_adapter_v2_chat": adapter_chat,
    "imagebind_llm": imagebind_llm,
    "llava_projector": llava_projector,
    "llava_lora": llava_lora,
    "longlora": longlora,
    "meta_llama": meta_llama,
}
