"""``nextgpt-lite toybox``: samples of the embedded world as media files and a manifest that holds the ground truth."""

import argparse
from pathlib import Path

from data.toybox import MODALITIES, write_toybox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must be new or empty")
    parser.add_argument("--count", type=int, required=True, help="number of scenes, one conversation each")
    parser.add_argument("--seed", type=int, default=0, help="which scenes")
    parser.add_argument(
        "--modality", default=",".join(MODALITIES), help="the media of each scene, separated by commas; default all"
    )
    parser.add_argument("--size", type=int, help="side of images and videos in pixels; default 128")


def run(arguments: argparse.Namespace) -> int:
    modalities = tuple(name.strip() for name in arguments.modality.split(","))
    manifest = write_toybox(arguments.out, arguments.count, arguments.seed, modalities, arguments.size)
    print(f"{manifest}: {arguments.count} conversations")
    return 0
