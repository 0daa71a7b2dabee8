"""The decoders' text encoders (CLIP for images and videos, CLAP for audio), trained to represent what a caption says.

They are frozen afterwards: the diffusion foundations learn to read them, and the output projections to imitate them,
independently of each other. What a caption says is predicted from their states by linear heads that are thrown away,
one for each attribute (of a manifest's captions, for each word), each with a class for "not named".
Shapes: B captions, L tokens, D width.
"""

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import nn
from torch.nn import functional
from transformers import (
    AddedToken,
    ClapTextConfig,
    ClapTextModelWithProjection,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    RobertaTokenizer,
)

from decoders.base import caption_ids
from train.foundations.components import frozen, load_component, write_component
from train.foundations.pools import HELD_OUT_SEED, DataSettings, EndlessDataset
from train.settings import RecipeError, setting
from train.task import Task
from train.worlds import World, open_world

FOLDER = "text_encoders"


class TextEncodersTask(Task):
    """Trains a CLIPTextModel (image, video) and a ClapTextModelWithProjection (audio); exports ``text_encoders/``."""

    @dataclass(frozen=True)
    class Settings(DataSettings):
        seed: int = setting(61, low=0, help="of the captions")
        width: int = setting(128, low=32, help="a multiple of 32")
        layers: int = setting(2, low=1)
        max_length: int = setting(16, low=3, help="tokens of a caption to CLIP")
        keep: float = setting(0.6, low=0, high=1, help="chance that a caption names an attribute")
        held_out: int = setting(1024, low=1, help="captions that evaluate() uses")

        def __post_init__(self) -> None:
            if self.width % 32:
                raise ValueError(f"width must be a multiple of 32, not {self.width}")

    settings: Settings
    model: "CaptionReader"
    part = "text_encoders"

    def build(self) -> None:
        chosen = self.settings
        self.world = open_world(chosen.data)
        words = self.world.caption_words
        self.clip_tokenizer = build_clip_tokenizer(chosen.max_length, words)
        self.clap_tokenizer = build_clap_tokenizer(words)
        clip = build_clip(self.clip_tokenizer, chosen.width, chosen.layers)
        clap = build_clap(len(self.clap_tokenizer), chosen.width, chosen.layers)
        self.model = CaptionReader(clip, clap, chosen.width, self.world.readings)
        self.dataset = RandomCaptions(self.world, chosen.seed, chosen.keep)

    def collate(self, items: list[tuple[str, list[int]]]) -> dict[str, torch.Tensor]:
        """{"clip_ids", "clap_ids", "clap_mask": (B, L), "labels": (B, attributes)}."""
        captions, labels = zip(*items, strict=True)
        clap = self.clap_tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")
        batch = {"clip_ids": caption_ids(self.clip_tokenizer, captions), "labels": torch.tensor(labels)}
        return batch | {"clap_ids": clap["input_ids"], "clap_mask": clap["attention_mask"]}

    def export(self, model_dir: Path) -> None:
        """Write ``text_encoders/``: clip, clip_tokenizer, clap, clap_tokenizer."""
        folder = Path(model_dir) / FOLDER
        encoders = {"clip": self.model.clip, "clap": self.model.clap}
        tokenizers = {"clip_tokenizer": self.clip_tokenizer, "clap_tokenizer": self.clap_tokenizer}
        for name, component in (encoders | tokenizers).items():
            write_component(component, folder / name)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Share of unseen captions of which every attribute is predicted correctly."""
        unseen = RandomCaptions(self.world, HELD_OUT_SEED, self.settings.keep)
        batch = self.collate([unseen[index] for index in range(self.settings.held_out)])
        right = self.model.read(**batch)
        return {name: float(hits.all(-1).float().mean()) for name, hits in right.items()}


class RandomCaptions(EndlessDataset):
    """Item i: a caption of the world and, for everything that captions say, the class of what this one says."""

    def __init__(self, world: World, seed: int, keep: float) -> None:
        self.world, self.seed, self.keep = world, seed, keep

    def __getitem__(self, index: int) -> tuple[str, list[int]]:
        caption, said = self.world.random_caption(self.seed, index, self.keep)
        readings = self.world.readings.items()
        return caption, [values.index(said[name]) if name in said else len(values) for name, values in readings]


class CaptionReader(nn.Module):
    """Both text encoders under linear heads that predict what captions say: ``readings``, name to values."""

    def __init__(
        self, clip: CLIPTextModel, clap: ClapTextModelWithProjection, width: int, readings: dict[str, tuple]
    ) -> None:
        super().__init__()
        self.clip, self.clap = clip, clap
        self.classes = [len(values) + 1 for values in readings.values()]
        heads = {name: nn.Linear(width, sum(self.classes)) for name in ("clip_end", "clip_mean", "clap")}
        self.heads = nn.ModuleDict(heads)

    def forward(self, clip_ids, clap_ids, clap_mask, labels) -> dict[str, torch.Tensor]:
        """Ids (B, L), labels (B, attributes) -> loss of all heads."""
        losses = {
            name: torch.stack([functional.cross_entropy(part, labels[:, i]) for i, part in enumerate(parts)]).sum()
            for name, parts in self._logits(clip_ids, clap_ids, clap_mask).items()
        }
        parts = {name: loss.detach() for name, loss in losses.items()}
        return {"loss": torch.stack(list(losses.values())).sum()} | parts

    def read(self, clip_ids, clap_ids, clap_mask, labels) -> dict[str, torch.Tensor]:
        """Which attributes each head predicts correctly (B, attributes)."""
        return {
            name: torch.stack([part.argmax(-1) for part in parts], -1) == labels
            for name, parts in self._logits(clip_ids, clap_ids, clap_mask).items()
        }

    def _logits(self, clip_ids, clap_ids, clap_mask) -> dict[str, tuple[torch.Tensor, ...]]:
        """Of each head, one (B, classes) for each attribute."""
        clip = self.clip(clip_ids)
        clap = self.clap(clap_ids, attention_mask=clap_mask).text_embeds
        # Scaled to unit coordinates: the pipeline hands on the direction only.
        clap = functional.normalize(clap.float(), dim=-1) * clap.shape[-1] ** 0.5
        states = {"clip_end": clip.pooler_output, "clip_mean": clip.last_hidden_state.mean(1), "clap": clap}
        return {name: self.heads[name](state).float().split(self.classes, dim=-1) for name, state in states.items()}


def build_clip_tokenizer(max_length: int, words: Sequence[str]) -> CLIPTokenizer:
    """A CLIPTokenizer for which each of ``words`` is one token; others are spelt in letters."""
    letters = string.ascii_lowercase + string.digits + "-"
    symbols = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[])
    added: list[str | AddedToken] = [AddedToken(tag, single_word=True) for tag in words]
    tokenizer.add_tokens(added)
    tokenizer.model_max_length = max_length
    return tokenizer


def build_clip(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPTextModel:
    """An untrained CLIPTextModel for the tokenizer, with heads of 32."""
    sizes = _sizes(len(tokenizer), width, layers, width // 32, tokenizer.model_max_length)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return CLIPTextModel(CLIPTextConfig(**sizes, **ids))


def build_clap_tokenizer(words: Sequence[str]) -> RobertaTokenizer:
    """A byte-level BPE in which each of ``words`` is one token (a hyphenated one, one token a part)."""
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = ByteLevel(add_prefix_space=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # the first three as ClapTextConfig numbers them
    alphabet = sorted(ByteLevel.alphabet())
    trainer = BpeTrainer(vocab_size=2048, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(words, trainer)
    bpe = json.loads(trained.to_str())["model"]
    merges: Any = [tuple(merge) for merge in bpe["merges"]]
    return RobertaTokenizer(vocab=bpe["vocab"], merges=merges, add_prefix_space=True, model_max_length=32)


def build_clap(vocabulary: int, width: int, layers: int) -> ClapTextModelWithProjection:
    """An untrained CLAP text encoder; its embeddings are as wide as its layers."""
    no_dropout: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = ClapTextConfig(**_sizes(vocabulary, width, layers, 4, 64), **no_dropout)
    return ClapTextModelWithProjection(config)


def _sizes(vocabulary: int, width: int, layers: int, heads: int, positions: int) -> dict[str, Any]:
    """What the configurations of both text encoders have in common."""
    shape = {"vocab_size": vocabulary, "num_hidden_layers": layers, "num_attention_heads": heads}
    widths = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
    return shape | widths | {"max_position_embeddings": positions}


def load_clip(model_dir: Path) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Tokenizer and trained text encoder of the image and video decoders, frozen. ValueError where there is none."""
    folder = Path(model_dir) / FOLDER
    text_encoder = load_component(CLIPTextModel, folder / "clip", "text encoder", "text_encoders")
    return CLIPTokenizer.from_pretrained(folder / "clip_tokenizer"), frozen(text_encoder)


def load_clap(model_dir: Path, words: Sequence[str]) -> tuple[RobertaTokenizer, ClapTextModelWithProjection]:
    """Tokenizer of ``words`` and trained text encoder of the audio decoder, frozen. ValueError where there is none.

    RecipeError where it was trained on captions of other words.
    """
    folder, tokenizer = Path(model_dir) / FOLDER / "clap", build_clap_tokenizer(words)
    text_encoder = load_component(ClapTextModelWithProjection, folder, "text encoder", "text_encoders")
    known = text_encoder.config.vocab_size
    if known != len(tokenizer):
        found = f"knows {known} tokens, the captions of the data are of {len(tokenizer)}"
        raise RecipeError(f"the text encoder in {folder} {found}: train it on them")
    return tokenizer, frozen(text_encoder)
