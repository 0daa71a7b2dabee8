"""``nextgpt-lite cache``: the images of a manifest as prototypes of the visual cache (2309.03905, Sec. 3.2.3)."""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from tqdm import tqdm

from adapters.visual_cache import FILE, KINDS, VisualCache
from data.atomic import check_new_folder
from data.manifest import read_manifest
from data.media.loading import load_medium
from encoders import Encoder, load_encoder
from nextgpt_lite import checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST.jsonl", help="conversations whose images are taken")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must be new or empty")
    parser.add_argument("--model", default="nano", help="whose encoder embeds them: nano or a model folder")
    parser.add_argument("--kind", choices=KINDS, default="exact", help="exact to about 300,000 images")
    parser.add_argument("--neighbours", type=int, default=10, help="prototypes that an embedding is blended with")
    parser.add_argument("--temperature", type=float, default=20.0, help="how much the nearest of them count for more")
    parser.add_argument("--blend", type=float, default=0.5, help="share of the prototypes in the result, 0 to 1")
    parser.add_argument("--batch", type=int, default=32, help="images embedded at once")


def run(arguments: argparse.Namespace) -> int:
    out = arguments.out
    check_new_folder(out)
    if arguments.batch < 1:
        raise ValueError(f"--batch must be at least 1, not {arguments.batch}")
    folder = checkpoint.resolve_model(arguments.model)
    path = checkpoint.component(folder, checkpoint.read_manifest(folder), "encoder")
    encoder = load_encoder(path).to("cuda" if torch.cuda.is_available() else "cpu")
    prototypes = embed_images(encoder, arguments.manifest, arguments.batch)
    cache = VisualCache(prototypes, arguments.neighbours, arguments.temperature, arguments.blend, arguments.kind)
    cache.save(out, str(encoder.identity))
    print(f"{out}: {len(prototypes)} prototypes, {(out / FILE).stat().st_size / 1e6:.1f} MB, {arguments.kind}")
    return 0


@torch.no_grad()
def embed_images(encoder: Encoder, manifest: Path, batch: int) -> torch.Tensor:
    """Unit embeddings (N, E), float16, of every image of a manifest. ValueError where it has none."""
    parts, remaining = [], image_paths(manifest)
    with tqdm(unit="image") as progress:
        while paths := list(islice(remaining, batch)):
            images = [encoder.preprocess("image", load_medium(path).array) for path in paths]
            parts.append(encoder.embed("image", torch.stack(images).to(encoder.device)).half().cpu())
            progress.update(len(paths))
    if not parts:
        raise ValueError(f"{manifest} holds no image: a visual cache is made of images")
    return torch.cat(parts)


def image_paths(manifest: Path) -> Iterator[str]:
    """The files of a manifest's image parts, whoever they are from, each once."""
    seen: set[str] = set()
    for record in read_manifest(manifest):
        for message in record["messages"]:
            for part in message["content"]:
                if part["type"] == "image" and part["path"] not in seen:
                    seen.add(part["path"])
                    yield part["path"]
