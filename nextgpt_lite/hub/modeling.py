"""The composed model as a model of Transformers: loaded and saved as a folder, generating text and media."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelCardData, snapshot_download
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.utils import PROCESSOR_NAME

from data.atomic import atomic_folder, check_new_folder, write_json, write_text
from data.modalities import MODALITIES
from nextgpt_lite import any_to_any, checkpoint
from nextgpt_lite.generate import Prepared, Row, Sampling, generate

CARD, PROCESSOR = "README.md", "AnyToAnyProcessor"
#: What a reply consists of where nothing else is asked for.
TEXT = "text"
#: What is downloaded of a model on the hub: never a pickle, never code.
DOWNLOADED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.md", "*.npy", "*.faiss", "*.webp")


class AnyToAnyConfig(PretrainedConfig):
    """Of a whole model folder: which media it reads and makes. Everything else stands in its components."""

    model_type = "nextgpt_lite_model"
    reads: list[str] | None = None  #: modalities that come in besides text
    makes: list[str] | None = None  #: modalities that a reply may hold besides text


class AnyToAnyForMultimodalLM(PreTrainedModel, GenerationMixin):
    """:class:`nextgpt_lite.AnyToAny` in a model of Transformers, as :attr:`whole`. Its parameters are the core's."""

    config_class = AnyToAnyConfig
    base_model_prefix = "core"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: AnyToAnyConfig, whole: any_to_any.AnyToAny | None = None) -> None:
        if whole is None:
            raise ValueError("a model of this class consists of trained parts: use from_pretrained")
        super().__init__(config)
        self.whole = whole
        self.core = whole.core
        self.input_modalities = [TEXT, *(config.reads or ())]
        self._outputs = (TEXT, *(config.makes or ()))

    @property
    def output_modalities(self) -> tuple[str, ...]:
        return self._outputs

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *_: Any, **options: Any) -> Self:
        """A model folder, "nano", or a model of the hub (``revision``, ``cache_dir``, ``local_files_only``, ``token``).

        CheckpointError where the folder does not fit together. ``device_map`` may name one device.
        """
        device = options.get("device_map")
        if isinstance(device, dict):
            device = next(iter(device.values()), None)
        name = str(pretrained_model_name_or_path)
        whole = any_to_any.AnyToAny.from_pretrained(find_folder(name, options), None if device is None else str(device))
        reads = [each for each in whole.core.config.input_modalities if each in MODALITIES]
        config = AnyToAnyConfig(reads=reads, makes=list(whole.core.config.output_modalities))
        config.architectures = [cls.__name__]
        config.name_or_path = name
        return cls(config, whole).eval()

    def save_pretrained(self, save_directory: Any, *_: Any, push_to_hub: bool = False, **options: Any) -> None:
        """Write the model folder: copies of all components, the manifest, ``config.json``, a model card.

        The folder must be new, or a model folder, which is replaced; ValueError for another. ``push_to_hub`` uploads
        it, as in Transformers.
        """
        folder, manifest = Path(save_directory), self.whole.manifest
        if not (folder / checkpoint.MANIFEST).is_file():
            check_new_folder(folder)
        with atomic_folder(folder) as temporary:
            for name in manifest["components"]:
                shutil.copytree(self.whole.folder_of(name), temporary / name)
            written = checkpoint.write_manifest(temporary, manifest["name"], **checkpoint.kept_settings(manifest))
            self.config.save_pretrained(temporary)
            write_text(temporary / CARD, self.card(written))
            write_json(temporary / PROCESSOR_NAME, {"processor_class": PROCESSOR})
        if push_to_hub:
            self.push_to_hub(options.pop("repo_id", folder.name), **options)

    def card(self, manifest: dict[str, Any]) -> str:
        """The model card as Markdown, with the head that the hub reads."""
        head = ModelCardData(library_name="nextgpt-lite", pipeline_tag="any-to-any", tags=["nextgpt-lite"])
        template = str(Path(__file__).with_name("card.md"))
        shown = {"manifest": manifest, "hash": checkpoint.model_hash(manifest), "config": self.config}
        return ModelCard.from_template(head, template, **shown).content

    @torch.no_grad()
    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]  # its inputs are those of the processor
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        media: Sequence[Sequence[dict[str, Any]]] | None = None,
        generation_mode: str = TEXT,
        generation_config: Any = None,
        seed: int = 0,
        **options: Any,
    ) -> Any:
        """Ids (B, T), padded, and the media parts of each row -> prompts with their replies (B, T'), padded on the
        left as they came; or with ``generation_mode`` "image", "video" or "audio" the media of that kind of each reply,
        as arrays of ``data.modalities``.

        ``max_new_tokens``, ``do_sample`` and ``temperature`` count, here or in ``generation_config``; the solver's
        steps and guidance are the decoders' own.
        """
        if generation_mode not in self.output_modalities:
            raise ValueError(
                f"unknown generation_mode {generation_mode!r}: expected {', '.join(self.output_modalities)}"
            )
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        prompts = [row[seen.bool()].tolist() for row, seen in zip(input_ids, mask, strict=True)]
        given = media or [[] for _ in prompts]
        prepared = [
            Prepared(ids, [self.whole.embed(part) for part in parts], 0)
            for ids, parts in zip(prompts, given, strict=True)
        ]
        sampling = [_sampling(options, generation_config, seed + number) for number in range(len(prompts))]
        requests = list(zip(prepared, sampling, strict=True))
        rows = generate(self.core, self.whole.end_tokens, requests, None, self.whole.decoding)
        if generation_mode == TEXT:
            padding: Any = self.whole.tokenizer.pad_token_id
            return _padded(input_ids, [row.reply_ids for row in rows], padding)
        return [self._media_of(row, generation_mode, seed + number) for number, row in enumerate(rows)]

    def _media_of(self, row: Row, modality: str, seed: int) -> list[np.ndarray]:
        """The media of a modality in a reply."""
        requests = [each for each in self.whole.read(row)[1] if each.modality == modality]
        if not requests:
            return []
        conditions = torch.stack([each.condition for each in requests])
        seeds = [seed + number for number in range(len(requests))]
        made = self.whole.decode(modality, conditions, seeds, words=[each.words for each in requests])
        return [medium.array for medium in made]


def find_folder(name: str, options: dict[str, Any]) -> Path:
    """A model folder on disk, or the snapshot of a model on the hub, without pickles and code."""
    if Path(name).is_dir() or "/" not in name or name.startswith((".", "/")):
        return checkpoint.resolve_model(name)
    known = ("revision", "cache_dir", "local_files_only", "token")
    chosen = {key: options[key] for key in known if options.get(key) is not None}
    return Path(snapshot_download(name, allow_patterns=list(DOWNLOADED), **chosen))


def _sampling(options: dict[str, Any], config: Any, seed: int) -> Sampling:
    def said(name: str, usual: Any) -> Any:
        value = options.get(name)
        value = getattr(config, name, None) if value is None else value
        return usual if value is None else value

    temperature = float(said("temperature", 1.0)) if said("do_sample", False) else 0.0
    return Sampling(int(said("max_new_tokens", 160)), temperature, seed)


def _padded(prompts: torch.Tensor, replies: list[list[int]], padding: int | None) -> torch.Tensor:
    """Prompts (B, T) with their replies behind them (B, T')."""
    rows = [torch.tensor(ids, dtype=torch.long, device=prompts.device) for ids in replies]
    behind = pad_sequence(rows, batch_first=True, padding_value=padding or 0).to(prompts)
    return torch.cat([prompts, behind], dim=1)
