"""``nextgpt-lite embed``: embeddings of a manifest's media, made once for all training on it."""

import argparse
import sys
from pathlib import Path

from data.strict import read_json
from nextgpt_lite import checkpoint

FEATURES = ("pooled", "patches")
NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST.jsonl", help="conversations whose media are embedded")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, or to go on in")
    parser.add_argument("--model", default="nano", help="whose encoder embeds them: nano or a model folder")
    parser.add_argument("--captions", action="store_true", help="conditions of captions too, for decoding alignment")
    parser.add_argument("--processes", type=int, default=1, help="how many embed at a time")
    parser.add_argument("--batch", type=int, default=16, help="media encoded at once")
    parser.add_argument("--per-shard", type=int, default=512, help="samples of a shard")
    parser.add_argument("--features", choices=FEATURES, help="what the core reads of a medium (default: as it says)")
    parser.add_argument("--image-size", type=int, help="side in pixels of images (default: as the core says)")


def run(arguments: argparse.Namespace) -> int:
    for name in ("processes", "batch", "per_shard"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(arguments, name)}")
    model = model_folder(arguments.model)
    paths = [model / folder / "config.json" for folder in ("core", "core_encoding")]
    core = next((read_json(path) for path in paths if path.is_file()), {})
    said = {"input_features": "pooled", "image_size": 0} | core  # the defaults where there is no core yet
    features = arguments.features or said["input_features"]
    size = said["image_size"] if arguments.image_size is None else arguments.image_size
    from train.embeddings.job import EmbeddingJob, embed_manifest  # torch and the encoder take seconds to import

    job = EmbeddingJob(model, features, size, arguments.batch, arguments.per_shard, arguments.captions)
    done = embed_manifest(arguments.manifest, arguments.out, job, arguments.processes)
    problems = [f"{located.where}: {located.problem}" for located in done["bad"]] + list(done["broken"].values())
    for problem in problems[:NAMED]:
        print(f"left out: {problem}", file=sys.stderr)
    size_in_mb = sum(file.stat().st_size for file in arguments.out.iterdir()) / 1e6
    captions = "".join(f", {count} {modality} captions" for modality, count in done["captions"].items())
    print(f"{arguments.out}: {done['media']} media{captions}, {size_in_mb:.1f} MB; {len(problems)} left out")
    return 0


def model_folder(name: str) -> Path:
    """The folder of a model, or of one that is being built and has an encoder already."""
    if name in checkpoint.EMBEDDED:
        return checkpoint.resolve_model(name)
    if not (Path(name) / "encoder").is_dir():
        raise ValueError(f"no model {name!r}: expected nano or a folder with an encoder")
    return Path(name)
