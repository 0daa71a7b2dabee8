"""Experts: what other models say about a medium, added to the prompt (LLaMA-Adapter V2, 2304.15010, Sec. 4.4).

An expert adds words and nothing else, at inference only, and is optional; those that a model's manifest names it was
trained with. The words for a medium are cached, so that later turns do not ask again.

    experts = Experts([Captioner("captioner"), SearchExpert("notes")])
    model.chat(messages, experts=experts)

Anything with ``name``, ``reads`` and ``context`` is an expert. The ones here load what `save_pretrained` wrote into a
folder: nothing is fetched, and weights are safetensors only.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.parts import part_folder
from nextgpt_lite.experts.base import Expert as Expert
from nextgpt_lite.experts.base import ExpertError as ExpertError
from nextgpt_lite.experts.base import Experts as Experts
from nextgpt_lite.experts.base import add_words as add_words
from nextgpt_lite.experts.base import introduced as introduced
from nextgpt_lite.experts.reading import ReadingExpert
from nextgpt_lite.experts.search import SearchExpert
from nextgpt_lite.experts.speech import SpeechExpert
from nextgpt_lite.experts.vision import Captioner, Detector, TextReader
from nextgpt_lite.parts.lock import is_fetched

if TYPE_CHECKING:
    from encoders import Encoder

#: Experts by the name that the command line takes; each is made from a folder.
EXPERTS = {
    "caption": Captioner,
    "ocr": TextReader,
    "detect": Detector,
    "hear": SpeechExpert,
    "search": SearchExpert,
}
#: The expert that a model has of itself: what its encoder reads.
READING = "reading"
#: Experts that may stand without a folder -> the pretrained part that they then read.
PARTS = {"hear": "whisper"}


def own_experts(names: Sequence[str], encoder: Callable[[], "Encoder"]) -> Experts | None:
    """The experts that a model's manifest names, those left out whose pretrained part has not been fetched."""
    made: list[Expert] = [ReadingExpert(encoder)] if READING in names else []
    for name in names:
        if name in PARTS and is_fetched(PARTS[name]):
            made += load_experts([name]).experts
    return Experts(made) if made else None


def load_experts(choices: Sequence[str]) -> Experts:
    """``["caption=FOLDER", "hear", ...]`` -> Experts.

    ExpertError names an unknown expert or a folder that is not there, PartMissing a pretrained part that is not.
    """
    made = []
    for choice in choices:
        name, _, folder = choice.partition("=")
        if name not in EXPERTS:
            raise ExpertError(f"unknown expert {name!r}: expected NAME=FOLDER with one of {', '.join(EXPERTS)}")
        if choice in PARTS:
            folder = part_folder(PARTS[choice])
        if not Path(folder).is_dir() or not folder:
            raise ExpertError(f"expert {name}: there is no folder {folder!r}")
        made.append(EXPERTS[name](folder))
    return Experts(made)
