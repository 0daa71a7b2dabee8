"""Stage 0, context extension (LongLoRA, 2309.12307): a language model learns to read rows longer than those it knows.

Its positions are scaled, attention is shifted and sparse in training (dense in evaluation), and LoRA on the attention
is trained with all norms and embeddings: the paper's LoRA+, without which LoRA falls short (its Table 2). Where the
learning rates say so, the language model itself is trained, in the place of LoRA (rate 0): then it is stored whole.
``nextgpt-lite merge`` makes a whole model of the result.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from adapters import attention
from adapters.long_context import FORMS, SCALINGS, ShiftedAttention, scale_positions
from data.passkey import PasskeyWriter
from data.strict import construct
from data.texts import hashes, pydoc_topics, read_texts
from nextgpt_lite.language_models import load_language_model, read_config, read_tokenizer
from nextgpt_lite.long_context.merge import save_adapter
from train.engine.lora import ATTENTION
from train.passkeys import PasskeyRows, RandomRows, SpreadPieces, TextsAndPasskeys, WithPasskeys, joined
from train.settings import RecipeError, setting
from train.task import Task, expose_layers
from train.worlds.toybox_world import ToyboxWorld

#: As ``texts``: English prose that every Python brings.
PYDOC = "pydoc"
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": list(ATTENTION)}


class ContextExtensionTask(Task):
    """Trains an adapter for long rows on ``language_model/``; exports ``context_adapter/``."""

    @dataclass(frozen=True)
    class Settings:
        seed: int = setting(31, low=0)
        length: int = setting(4096, low=2, help="tokens of a row")
        rows: int = setting(1000, low=1)
        cuts: int = setting(0, low=0, help="items cut at random places of all rows end to end; 0 = the rows themselves")
        texts: list[str] | str = setting(
            [], help="UTF-8 files, a folder of them, or pydoc: Python's own documentation; none = Toybox dialogues"
        )
        scaling: str = setting("linear", choices=SCALINGS, help="of the positions")
        form: str = setting("split", choices=FORMS, help="of the shifted attention")
        group: int | float = setting(0.25, above=0, help="length of its groups: tokens, or a share of the row")
        quantised: bool = setting(False, help="QLoRA: the base in 4 bits")
        lora: dict[str, Any] = setting(LORA, help="of peft.LoraConfig")
        held_out: int = setting(4, low=0, help="rows of evaluate()")
        passkey_tokens: int = setting(0, low=0, help="of passkey documents beside each row; 0 = none")
        passkey_shortest: int = setting(0, low=0, help="tokens of the shortest document, if longer than its text")
        passkey_longest: int = setting(2048, low=1, help="tokens, read densely, however long a group is")
        passkey_gaps: bool = setting(True, help="key and question up to `length` positions apart")
        spread: int = setting(0, low=0, help="tokens of each row read again at positions spread over `length`")

        def __post_init__(self) -> None:
            if self.spread > self.length:
                raise RecipeError(f"spread is {self.spread}, more than the {self.length} tokens of a row")

    settings: Settings
    model: "LongRows"

    def build(self) -> None:
        chosen = self.settings
        self.tokenizer = read_tokenizer(self.model_dir / "tokenizer")
        language_model = self.load_language_model()
        inject_adapter_in_model(construct(LoraConfig, chosen.lora, "lora"), language_model)
        self.model = LongRows(language_model, ShiftedAttention(chosen.form, chosen.group))
        rows = self._rows(chosen.rows + chosen.held_out)
        self.held_out, rows = rows[: chosen.held_out], rows[chosen.held_out :]
        # What lies beside a row is drawn for each item, so few rows should be cut often.
        cut = RandomRows(rows.flatten(), chosen.length, 1, chosen.cuts, chosen.seed) if chosen.cuts else None
        pieces = SpreadPieces(chosen.seed, chosen.spread, chosen.length) if chosen.spread else None
        self.dataset: Dataset = WithPasskeys(rows.unsqueeze(1) if cut is None else cut, self._passkeys(), pieces)

    @property
    def language_model(self) -> PreTrainedModel:
        """That of ``model``, for which a sharded run puts a whole one at its end."""
        return self.model.language_model

    def load_language_model(self) -> PreTrainedModel:
        """The base with scaled positions, running the registered attention."""
        folder = self.model_dir / "language_model"
        config = read_config(folder)
        scale_positions(config, self.settings.length, self.settings.scaling)
        model = load_language_model(folder, config, "int4" if self.settings.quantised else "float32")
        model.set_attn_implementation(attention.register())
        return model

    def parts(self) -> dict[str, list[nn.Parameter]]:
        parts: dict[str, list[nn.Parameter]] = {"lora": [], "norms": [], "embeddings": [], "language_model": []}
        for name, parameter in self.language_model.named_parameters():
            parts[self._part_of(name, parameter)].append(parameter)
        return parts

    @property
    def low_rank_embeddings(self) -> bool:
        """Whether the embeddings change at low rank, as the attention does: then they are not stored whole."""
        return "embed_tokens" in self.settings.lora["target_modules"]

    def _part_of(self, name: str, parameter: nn.Parameter) -> str:
        if ".lora_" in name:
            return "lora"
        if parameter is self.language_model.get_input_embeddings().weight:
            return "embeddings"
        module = name.split(".")[-2]
        return "norms" if "norm" in module or module.startswith("ln_") else "language_model"

    def collate(self, items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return joined(items)

    def export(self, model_dir: Path) -> None:
        model = self.language_model
        kinds = {"norms"} if self.low_rank_embeddings else {"norms", "embeddings"}
        if any(parameter.requires_grad for parameter in self.parts()["language_model"]):  # full tuning
            kinds.add("language_model")
        whole = [n for n, p in model.named_parameters() if self._part_of(n, p) in kinds]
        save_adapter(model, model.config, self.settings.lora, whole, Path(model_dir) / "context_adapter")

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Perplexity of held-out rows at full length, with dense attention; nothing where no row is held out."""
        if not len(self.held_out):
            return {}
        losses = [float(self.model.eval()(row[None])["loss"]) for row in self.held_out]
        return {"perplexity": float(np.exp(np.mean(losses)))}

    def _rows(self, count: int) -> torch.Tensor:
        """``count`` rows (count, length) of texts end to end."""
        length, ids = self.settings.length, []
        for text in self._texts():
            ids += text
            if len(ids) >= count * length:
                return torch.tensor(ids[: count * length]).view(count, length)
        raise RecipeError(f"texts hold {len(ids)} tokens, too few for {count} rows of {length}")

    def _texts(self) -> Iterator[list[int]]:
        """Token ids of each text; of Toybox there is no end."""
        texts = self.settings.texts
        if not texts:
            world = ToyboxWorld()
            for index in itertools.count():
                conversation = world.conversation(self.settings.seed, index)
                encoded: Any = self.tokenizer.apply_chat_template(conversation, return_dict=True)
                yield encoded["input_ids"]
        if texts == PYDOC:
            contents = iter(["\n\n".join(pydoc_topics())])
        elif isinstance(texts, str):
            held_out = hashes(self.model_dir, "held_out")  # which the base was not trained on either
            contents = [text.content for text in read_texts(texts) if text.sha256 not in held_out]
        else:
            contents = (Path(path).read_text(encoding="utf-8") for path in texts)
        for content in contents:
            yield self.tokenizer(content)["input_ids"]

    def _passkeys(self) -> PasskeyRows | None:
        chosen = self.settings
        if not chosen.passkey_tokens:
            return None
        writer = PasskeyWriter(lambda text: self.tokenizer(text, add_special_tokens=False)["input_ids"])
        sizes, span = (chosen.passkey_tokens, chosen.passkey_longest), chosen.length if chosen.passkey_gaps else None
        return PasskeyRows(writer, chosen.seed, *sizes, span=span, shortest=chosen.passkey_shortest)


class LongRows(TextsAndPasskeys):
    """A causal language model on whole rows: in groups while it trains, densely while it is evaluated.

    Passkey documents are read densely: in groups, a question could not see a key that is further away.
    """

    def __init__(self, language_model: PreTrainedModel, shifted: ShiftedAttention) -> None:
        super().__init__(language_model)
        self.shifted = shifted
        expose_layers(self, language_model)

    def text_logits(self, input_ids: torch.Tensor) -> torch.Tensor:
        shifted = self.shifted.batch(input_ids.shape[1]) if self.training else None
        return self.language_model(input_ids, use_cache=False, shifted_attention=shifted).logits
