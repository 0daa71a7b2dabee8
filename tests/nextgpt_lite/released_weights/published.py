"""Published files of every format at tiny size, in their own layouts, and bases that they are put on.

The weights of LLaMA-Adapter and ImageBind-LLM are those of the golden cases, parted as their authors part them: the
language model in one folder, what was trained in a file beside it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from encoders.open_clip import OpenClipConfig, OpenClipVision
from nextgpt_lite.released_weights.meta_llama import clip_weights, translate
from tests.parity.cases import GOLDEN, Case, _read
from tests.parity.llama_adapter import text_config

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


MAKERS: dict[str, Callable[[Path], Given]] = {
    "llama_adapter_v1": adapter_v1,
    "llama_adapter_v2": lambda folder: adapter_v2(folder, "v2_lora"),
    "llama_adapter_v2_chat": adapter_chat,
}
