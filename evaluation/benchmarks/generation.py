"""The suite ``generation``: how far the media that a model's decoders make are from real ones, as distributions.

    nextgpt-lite evaluate generation --model nano --count 200 --seed 101 --features oracle
    nextgpt-lite evaluate generation --data runs/coco/manifest.jsonl --model MODEL --features inception=FILE

The decoders draw the captions of real media, and the two sets are compared by the Fréchet distance and the kernel
distance of named features (evaluation.metrics). With Inception's features these are FID and KID; of audio the first is
FAD. A figure is worth nothing without the name of its features and the number of media, which stand beside it.
"""

from collections import defaultdict
from typing import Any

from tqdm import tqdm

from data import toybox
from data.atomic import hash_file
from data.manifest import read_manifest
from data.modalities import MODALITIES
from evaluation import Settings
from evaluation.benchmarks.embeddings import captioned_media
from evaluation.benchmarks.suite import report_figures
from evaluation.metrics.distances import frechet_distance, kernel_distance
from evaluation.metrics.features import Medium, features_of
from evaluation.own_data import evenly_spread, with_array
from evaluation.statistics import Figures
from evaluation.toybox.cases import NOISE, stream_seed
from nextgpt_lite import AnyToAny
from nextgpt_lite.any_to_any import set_num_threads

BATCH, STREAM = 16, 99
GENERATED = ("image", "audio", "video")
#: Modality -> captions, and the real medium of each.
Real = dict[str, list[tuple[str, dict[str, Any]]]]


def run(settings: Settings) -> str:
    """Run the suite; the text to print. ValueError where the data hold too few captioned media."""
    networks = {name: features_of(settings.features or "descriptor", name) for name in GENERATED}
    real = _real(settings)
    model = set_num_threads(AnyToAny.from_pretrained(settings.model))
    figures, used, noise = Figures(), {}, stream_seed(settings.seed, NOISE)
    for modality, network in networks.items():
        if network is None or modality not in model.core.config.conditions or len(real[modality]) < 2:
            continue
        made = draw(model, modality, [caption for caption, _ in real[modality]], noise)
        truth = [(part["array"], part.get("rate")) for _, part in real[modality]]
        compare(figures, modality, network.name, network(made), network(truth))
        used[modality] = {"name": network.name, "hash": network.hash}
    if not used:
        where = settings.data or f"Toybox at --count {settings.count}"
        raise ValueError(f"{where} holds no two captioned media that {settings.model} can make")
    data = toybox.source_hash() if settings.data is None else hash_file(settings.data)
    return report_figures(settings, "generation", model, data, figures, features=used)


def compare(figures: Figures, modality: str, name: str, made: Any, real: Any) -> None:
    """Distances of made and real features (N, D), and of two halves of the real ones, which is what media without any
    fault have at half the number: the Fréchet distance falls as the number grows."""
    count = len(made)
    figures.value(f"{modality}.frechet.{name}", frechet_distance(made, real), count)
    kernel = kernel_distance(made, real)
    spread = None if kernel.deviation is None else 1.96 * kernel.deviation
    interval = None if spread is None else (kernel.value - spread, kernel.value + spread)
    figures.value(f"{modality}.kernel.{name}", kernel.value, count, interval)
    if count >= 4:
        figures.value(f"{modality}.frechet_of_real_halves.{name}", frechet_distance(real[::2], real[1::2]), count // 2)


def draw(model: AnyToAny, modality: str, captions: list[str], seed: int) -> list[Medium]:
    """A medium of each caption, one candidate each."""
    decoder, made = model.decoders[modality], []
    for start in tqdm(range(0, len(captions), BATCH), desc=f"drawing {modality}", unit="batch"):
        part = captions[start : start + BATCH]
        seeds = [seed + start + number for number in range(len(part))]
        made += [(array, decoder.rate) for array in decoder.decode(decoder.encode_caption(part), seeds=seeds)]
    return made


def _real(settings: Settings) -> Real:
    found: Real = defaultdict(list)
    if settings.data is None:
        stream = stream_seed(settings.seed, STREAM)
        for index in range(settings.count):
            scene = toybox.sample(stream, index, "all")
            for modality in GENERATED:
                part = {"array": toybox.render(scene, modality), "rate": MODALITIES[modality].rate}
                found[modality].append((toybox.tag_caption(toybox.visible(scene, modality)), part))
        return found
    listed: dict[str, dict[str, str]] = defaultdict(dict)
    for record in read_manifest(settings.data):
        for part, caption in captioned_media(record):
            listed[part["type"]].setdefault(part["path"], caption)
    for modality, captions in listed.items():
        for path, caption in evenly_spread(list(captions.items()), settings.count):
            found[modality].append((caption, with_array({"type": modality, "path": path})))
    return found
