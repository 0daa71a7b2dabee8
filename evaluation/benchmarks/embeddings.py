"""The suites ``retrieval`` and ``zero_shot``: how well a model's encoder brings together what belongs together.

    nextgpt-lite evaluate retrieval --model nano --count 200 --seed 101       # every pair of media, Toybox
    nextgpt-lite evaluate retrieval --data runs/coco/manifest.jsonl --model MODEL
    nextgpt-lite evaluate zero_shot --data runs/digits/manifest.jsonl --model MODEL

Here the encoder is what is measured, by which other media are nearest (ImageBind, 2305.05665, Sec. 4): in retrieval,
those of the same scene or record; in zero-shot classification, the words of their class ("a picture of a bell").
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from data import toybox
from data.atomic import hash_file
from data.manifest import Record, read_manifest
from data.modalities import MODALITIES
from encoders.base import Encoder
from evaluation import Settings
from evaluation.benchmarks.suite import media_of, report_figures, text_of
from evaluation.metrics.ranking import RANKS, retrieval
from evaluation.own_data import attributes_of, evenly_spread, with_array
from evaluation.statistics import Figures
from evaluation.toybox.cases import stream_seed
from nextgpt_lite import AnyToAny
from nextgpt_lite.any_to_any import set_num_threads

BATCH, STREAM = 16, 98
#: What the name of a class is put into.
FORMS = ("{x}", "a picture of {x}", "a photo of {x}", "the sound of {x}", "a video of {x}", "this is {x}")
Parts = Sequence[dict[str, Any]]


def run_retrieval(settings: Settings) -> str:
    """Run the suite; the text to print. ValueError where the data hold fewer than two pairs."""
    model = set_num_threads(AnyToAny.from_pretrained(settings.model))
    if settings.data is None:
        figures, data = _retrieve_toybox(model.encoder, settings), toybox.source_hash()
    else:
        figures, data = _retrieve_captions(model.encoder, settings), hash_file(settings.data)
    return report_figures(settings, "retrieval", model, data, figures, encoder=model.encoder.identity)


def _retrieve_toybox(encoder: Encoder, settings: Settings) -> Figures:
    """Every ordered pair of media of the same scenes; right is what shows the same attributes that both can show."""
    stream, figures = stream_seed(settings.seed, STREAM), Figures()
    scenes = [toybox.sample(stream, index, "all") for index in range(settings.count)]
    names = [name for name in toybox.MODALITIES if name in encoder.modalities]
    rows = {name: embed(encoder, [_part(scene, name) for scene in scenes]) for name in names}
    if encoder.reads_text:
        for name in names:
            words = [toybox.phrase(toybox.visible(scene, name), name) for scene in scenes]
            rows[f"text of {name}"] = _embed_words(encoder, words)
    for one, other in permutations(rows, 2):
        pair = {one.removeprefix("text of "), other.removeprefix("text of ")}
        if ("text of" in one or "text of" in other) and len(pair) > 1:
            continue  # words are about the medium that they describe
        shared = [name for name in toybox.CARRIES["image"] + toybox.CARRIES["audio"] + toybox.CARRIES["video"]
                  if all(name in toybox.CARRIES[medium] for medium in pair)]  # fmt: skip
        keys = [tuple(getattr(scene, name) for name in dict.fromkeys(shared)) for scene in scenes]
        right = np.array([[key == own for own in keys] for key in keys])
        _add(figures, f"{one}->{other}", rows[one] @ rows[other].T, right)
    return figures


def _retrieve_captions(encoder: Encoder, settings: Settings) -> Figures:
    """Media and their captions, both ways, by modality; all captions of a medium are right for it."""
    figures = Figures()
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    assert settings.data is not None
    for record in read_manifest(settings.data):
        for part, caption in captioned_media(record):
            groups[part["type"]][part["path"]].append(caption)
    for modality, media in groups.items():
        if modality not in encoder.modalities or len(media) < 2:
            continue
        chosen = dict(evenly_spread(list(media.items()), settings.count))
        rows = embed(encoder, [with_array({"type": modality, "path": path}) for path in chosen])
        words = _embed_words(encoder, [caption for own in chosen.values() for caption in own])
        owner = np.repeat(np.arange(len(chosen)), [len(own) for own in chosen.values()])
        right = owner[None] == np.arange(len(chosen))[:, None]
        _add(figures, f"{modality}->text", rows @ words.T, right)
        _add(figures, f"text->{modality}", words @ rows.T, right.T)
    if not figures.values:
        raise ValueError(f"{settings.data} holds no two captioned media that this encoder reads")
    return figures


def captioned_media(record: Record) -> list[tuple[dict[str, Any], str]]:
    """Media of a record and what is said of them: shown and described, or asked for and made."""
    *before, last = record["messages"]
    if len(before) != 1:
        return []
    shown, made = media_of(before[0]), [part for part in media_of(last) if part.get("caption")]
    if len(shown) == 1 and not made and (caption := text_of(last)):
        return [(shown[0], caption)]
    return [(part, part["caption"]) for part in made]


def run_zero_shot(settings: Settings) -> str:
    """Run the suite; the text to print. ValueError for an encoder without a text tower, and data without labels."""
    model = set_num_threads(AnyToAny.from_pretrained(settings.model))
    if not model.encoder.reads_text:
        raise ValueError(f"{settings.model}: its encoder has no text tower, so that no class has words for it")
    if settings.data is None:
        labelled, data = _toybox_labels(model.encoder, settings), toybox.source_hash()
    else:
        labelled, data = _labels(settings), hash_file(settings.data)
    figures = Figures()
    for (modality, attribute), members in labelled.items():
        if modality in model.encoder.modalities:
            classify(figures, model.encoder, f"{modality}.{attribute}", members)
    if not figures.values:
        where = settings.data or "Toybox"
        raise ValueError(f"{where} holds no media with attributes that this encoder reads")
    return report_figures(settings, "zero_shot", model, data, figures, encoder=model.encoder.identity)


def classify(figures: Figures, encoder: Encoder, name: str, members: list[tuple[Callable, str, str]]) -> None:
    """Top-1 and top-5 of media (how to get one, its class, the words of its class) among all classes of ``members``."""
    words = {each: said for _, each, said in members}
    classes = sorted(words)
    forms = [embed_class(encoder, words[each]) for each in classes]
    rows = embed(encoder, [make() for make, *_ in members])
    scores = rows @ np.stack(forms).T  # (N, classes)
    truth = np.array([classes.index(each) for _, each, _ in members])
    found = retrieval(scores, truth[:, None] == np.arange(len(classes))[None], (1, 5))
    for k, tally in found.recall.items():
        if k == 1 or len(classes) > k:
            figures.share(f"{name}.top_{k}", tally)
    figures.value(f"{name}.chance", 1 / len(classes), len(members))


def embed_class(encoder: Encoder, words: str) -> np.ndarray:
    """The mean of a class's name in several sentences, of length one (CLIP's prompt ensembles)."""
    mean = _embed_words(encoder, [form.format(x=words) for form in FORMS]).mean(0)
    return mean / np.linalg.norm(mean)


def _toybox_labels(encoder: Encoder, settings: Settings) -> dict[tuple[str, str], list]:
    stream = stream_seed(settings.seed, STREAM)
    found: dict[tuple[str, str], list] = defaultdict(list)
    for index in range(settings.count):
        scene = toybox.sample(stream, index, "all")
        for modality in toybox.MODALITIES:
            words = toybox.phrase({"thing": scene.thing}, modality)
            found[modality, "thing"].append((lambda s=scene, m=modality: _part(s, m), scene.thing, words))
        found["image", "colour"].append(
            (lambda s=scene: _part(s, "image"), scene.colour, toybox.phrase({"colour": scene.colour}))
        )
    return found


def _labels(settings: Settings) -> dict[tuple[str, str], list]:
    """Media that are shown, by the attributes of their records."""
    assert settings.data is not None
    found: dict[tuple[str, str], list] = defaultdict(list)
    for record in read_manifest(settings.data):
        shown = media_of(record["messages"][0])
        for name, value in attributes_of(record).items() if len(shown) == 1 else ():
            part = shown[0]
            found[part["type"], name].append((lambda p=part: with_array(p), str(value), str(value)))
    return {key: list(evenly_spread(members, settings.count)) for key, members in found.items()}


def _part(scene: toybox.Scene, modality: str) -> dict[str, Any]:
    return {"type": modality, "array": toybox.render(scene, modality), "rate": MODALITIES[modality].rate}


def _add(figures: Figures, name: str, similarity: np.ndarray, right: np.ndarray) -> None:
    found = retrieval(similarity, right)
    for k in RANKS:
        figures.share(f"{name}.recall_{k}", found.recall[k])
    figures.value(f"{name}.median_rank", found.median_rank, len(similarity))
    figures.value(f"{name}.chance", float(right.mean()), len(similarity))


@torch.no_grad()
def embed(encoder: Encoder, parts: Parts) -> np.ndarray:
    """Unit embeddings (N, E) of media."""
    rows = []
    for start in tqdm(range(0, len(parts), BATCH), desc=f"embedding {parts[0]['type']}", unit="batch"):
        batch = parts[start : start + BATCH]
        ready = [encoder.preprocess(each["type"], each["array"], each.get("rate")) for each in batch]
        same = len({each.shape for each in ready}) == 1
        tensors = torch.stack(ready).to(encoder.device) if same else [each.to(encoder.device) for each in ready]
        rows.append(encoder.embed(batch[0]["type"], tensors).float().cpu())
    return torch.cat(rows).numpy()


@torch.no_grad()
def _embed_words(encoder: Encoder, words: list[str]) -> np.ndarray:
    rows = [encoder.embed_text(words[start : start + 64]).float().cpu() for start in range(0, len(words), 64)]
    return torch.cat(rows).numpy()
