"""Between the stages: output projections that read words learn to, on dialogues in words alone.

A ReadingProjection (adapters.reading_projection) takes the input embeddings of the words before the signal tokens. What
these make of a condition can be learned without a pass of the language model, tens of times faster than with one.
The projections replace those of the core that the task starts from; stage 3 goes on from there.

Shapes: B spans, W words, n signal tokens, L x C a decoder's condition.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from adapters import ReadingProjection
from data.modalities import MODALITIES
from data.parts import part_folder
from data.records import BadRecords
from data.strict import construct, read_json
from decoders.phrases import SLOTS, embed_captions
from encoders.sentence_encoder import Remembered, SentenceEncoder
from nextgpt_lite.checkpoint import load_tokenizer
from nextgpt_lite.core_checkpoint import CONTEXT_ADAPTER, load_core, save_core
from nextgpt_lite.model import AnyToAnyCore, caption_loss
from train.dialogues.encode import RowEncoder
from train.dialogues.loader import EVALUATION_SEED
from train.dialogues.records import AT_START, sources_of
from train.dialogues.things_records import things_conversations
from train.foundations.pools import EndlessDataset
from train.settings import RecipeError, setting
from train.task import Task

#: Of the cosines by which phrases are told apart.
TEMPERATURE = 0.07
#: Weight of the squared weights of the map of meanings.
RIDGE = 100.0
_WORD = re.compile(" [a-z]{3,}")
#: How a thing is spoken of that the world does not have.
PATTERNS = ("Here is {}.", "Here you are: {}.", "draw {}", "I drew {}.", "{}")


@dataclass(frozen=True)
class Span:
    """A medium that is asked for: its modality, the ids of at most W words before it, its caption."""

    modality: str
    words: list[int]
    caption: str


class OutputReadingTask(Task):
    """See above. Conditions are compared by their distance, as in stage 2, and told apart in each batch."""

    @dataclass(frozen=True)
    class Settings:
        seed: int = setting(24, low=0, help="of the dialogues")
        dialogues: int = setting(30_000, low=1)
        chinese: float = setting(0.5, low=0, high=1, help="share of them: Chinese words are bytes without a meaning")
        held_out: int = setting(500, low=1, help="dialogues of evaluate()")
        data: list[str | dict[str, Any]] | dict[str, Any] | str = setting([{"things": True}], help="a world")
        start: str = setting("core_decoding", help="folder in the model folder of the core to go on from")
        projection: dict[str, Any] = setting({}, help="settings of the projections")
        known_words: int = setting(8000, low=0, help="words that the map of meanings is fitted on; 0 = none")
        other_nouns: float = setting(0.15, low=0, high=1, help="share of things that the world does not have")

    settings: Settings
    model: "WordReader"
    output: ClassVar[str] = "core_reading"
    part = "output_projections"

    def build(self) -> None:
        chosen = self.settings
        if not all(source.things for source in sources_of(chosen.data, AT_START)):
            raise RecipeError("data: words are read in dialogues of the world of things: expected [{things: true}]")
        base, adapter = self.model_dir / "language_model", self.model_dir / CONTEXT_ADAPTER
        self.core = load_core(self.model_dir / chosen.start, base, adapter=adapter)
        self.tokenizer: Any = load_tokenizer(self.model_dir / "tokenizer", self.core.config)
        self.embed = Remembered(SentenceEncoder.from_pretrained(part_folder("minilm")))
        phrases = SLOTS, self.embed.encoder.width
        for modality, shape in self.core.config.conditions.items():
            if tuple(shape) != phrases:
                found = f"those of {modality} are {tuple(shape)}"
                raise RecipeError(f"the core's conditions must be phrases {phrases}, {found}")
        are_new = replace_projections(self.core, chosen.projection)
        self.model = WordReader(self.core)
        if are_new and chosen.known_words:
            self.give_words_their_meaning(chosen.known_words)
        spans = list(self.spans(chosen.seed, chosen.dialogues))
        self.dataset = Spans(spans, self.other_spans(), chosen.other_nouns, chosen.seed)

    @torch.no_grad()
    def give_words_their_meaning(self, count: int) -> None:
        """Fit each projection's map from input embeddings to the space of phrases on ``count`` words of one token."""
        ids = {}
        for token in range(self.core.table.first):
            if len(ids) < count and _WORD.fullmatch(word := self.tokenizer.decode([token])):
                ids[word.strip()] = token
        words = list(ids)
        meanings = torch.cat([self.embed(words[at : at + 256]) for at in range(0, len(words), 256)])  # (N, C)
        vectors = self.core.embed_text(torch.tensor(list(ids.values())))
        vectors = functional.layer_norm(vectors, vectors.shape[-1:]).float()  # (N, D), as the projections read them
        mean = meanings.mean(0)
        matrix = vectors.T @ vectors + RIDGE * torch.eye(vectors.shape[1])
        weight = torch.linalg.solve(matrix, vectors.T @ (meanings - mean))
        for projection in self.model.projections.values():
            projection.meaning.weight.copy_(weight.T)
            projection.meaning.bias.copy_(mean)

    def spans(self, seed: int, count: int) -> Iterator[Span]:
        """The media that are asked for in the first ``count`` dialogues of a stream."""
        table, words = self.core.table, self.model.words
        encoder = RowEncoder(self.tokenizer, table, tuple(MODALITIES))
        drawn = things_conversations(seed, count, chinese=self.settings.chinese)
        for row in encoder.rows(drawn, BadRecords("refuse", 0.0)):
            ids = torch.tensor([row.ids])
            for modality in table.spans:
                _, columns = table.span_places(ids, modality)
                for caption, own in zip(row.captions[modality], columns, strict=True):
                    yield Span(modality, row.ids[max(int(own[0]) - words, 0) : int(own[0])], caption)

    def other_spans(self) -> list[Span]:
        """Things beyond the world, asked for as images: a projection is not to know the world's names alone."""
        names = [name.lower() for name in read_json(part_folder("efficientnet") / "classes.json")["classes"]]
        said = [(f"a {name}", pattern.format(f"a {name}")) for name in names for pattern in PATTERNS]
        return [Span("image", self.tokenizer.encode(text, add_special_tokens=False), name) for name, text in said]

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {self.part: list(self.core.output_projections.parameters())}

    def collate(self, items: list[Span]) -> dict[str, torch.Tensor]:
        """By modality ids of words (B, W), padded on the left, where they are padding, and conditions (B, L, C)."""
        batch = {}
        for modality in dict.fromkeys(item.modality for item in items):
            own = [item for item in items if item.modality == modality]
            width = max(len(item.words) for item in own)
            ids = [[0] * (width - len(item.words)) + item.words for item in own]
            padding = [[True] * (width - len(item.words)) + [False] * len(item.words) for item in own]
            batch |= {f"words_{modality}": torch.tensor(ids), f"padding_{modality}": torch.tensor(padding)}
            batch[f"target_{modality}"] = embed_captions([item.caption for item in own], self.embed)
        return batch

    def export(self, model_dir: Path) -> None:
        save_core(self.core, Path(model_dir) / self.output)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On dialogues that training never saw: of each modality the mean cosine of the phrases that a caption says,
        and the length of those that it does not."""
        spans, figures = list(self.spans(EVALUATION_SEED, self.settings.held_out)), {}
        for modality in self.core.table.spans:
            own = [span for span in spans if span.modality == modality]
            if not own:
                continue
            batch = self.collate(own)
            found = self.model.conditions(modality, batch)
            said = batch[f"target_{modality}"].any(-1)
            cosines = torch.cosine_similarity(found, batch[f"target_{modality}"], dim=-1)
            figures |= {f"{modality}_cosine": cosines[said].mean().item()}
            figures |= {f"{modality}_silence": found[~said].norm(dim=-1).mean().item()}
        return figures


@dataclass(eq=False)
class Spans(EndlessDataset):
    """Item i is a span of the dialogues or, for a share of them, one of ``others``."""

    own: list[Span]
    others: list[Span]
    share: float
    seed: int

    def __getitem__(self, index: int) -> Span:
        rng = np.random.default_rng((self.seed, index))
        chosen = self.others if rng.random() < self.share else self.own
        return chosen[int(rng.integers(len(chosen)))]


class WordReader(nn.Module):
    """The output projections of a core, reading words where its language model has said nothing: zeros."""

    def __init__(self, core: AnyToAnyCore) -> None:
        super().__init__()
        self.projections: Any = core.output_projections
        self.embed_text, self.counts = core.embed_text, core.config.signal_tokens
        self.words = min(projection.words for projection in self.projections.values())

    def conditions(self, modality: str, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Conditions (B, L, C) of a collated batch."""
        words = self.embed_text(batch[f"words_{modality}"]).detach()
        silence = words.new_zeros(len(words), self.counts[modality], words.shape[-1])
        return self.projections[modality](silence, silence, words, batch[f"padding_{modality}"])

    def forward(self, **batch: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = {}
        for modality in self.projections:
            if f"target_{modality}" in batch:
                found, target = self.conditions(modality, batch), batch[f"target_{modality}"]
                parts[modality] = caption_loss(found, target) / target.norm(dim=-1).mean()
                parts[f"which_{modality}"] = which_phrase(found, target)
        loss = sum(parts.values(), torch.zeros(()))
        return {"loss": loss} | {modality: part.detach() for modality, part in parts.items()}


def which_phrase(found: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of telling the phrases (B, L, C) that captions say from all others in the batch, by their cosines.

    Phrases lie near their mean, and a distance pulls all to it first: what tells a cat from a dog is little of it.
    """
    said = target.any(-1)
    phrases, numbers = torch.unique(target[said], dim=0, return_inverse=True)
    return functional.cross_entropy(functional.normalize(found[said], dim=-1) @ phrases.T / TEMPERATURE, numbers)


def replace_projections(core: AnyToAnyCore, settings: dict[str, Any]) -> bool:
    """Give a core output projections that read words, in place. False where it has them already with these settings:
    they go on with what they have learned."""
    config = core.config
    if config.output_projection == "reading" and config.output_projection_settings == settings:
        return False
    config.output_projection, config.output_projection_settings = "reading", dict(settings)
    width = config.text_config.hidden_size
    for modality, shape in config.conditions.items():
        core.output_projections[modality] = construct(ReadingProjection, settings, "projection", width, tuple(shape))
    return True
