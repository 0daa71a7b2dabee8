"""The way of an image through the product, as docs/architecture.md has it, is the way that a real reply takes."""

import re
import sys
from pathlib import Path
from types import FrameType

import pytest

from nextgpt_lite import AnyToAny
from tests.test_dependency_direction import MAY_IMPORT

ROOT = Path(__file__).parents[1]
MOST = 10


class Walk:
    """Which product files call which during a call, in the order in which they are first entered."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.calls: dict[str, set[str]] = {}
        self.nested: set[str] = set()  # entered while they were waiting for another file's value

    def __enter__(self):
        sys.setprofile(self.observe)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def observe(self, frame: FrameType, event: str, _) -> None:
        name = product_file(frame)
        if event != "call" or name is None:
            return
        waiting = []
        while (frame := frame.f_back) is not None:
            if caller := product_file(frame):
                waiting.append(caller)
        if waiting and waiting[0] == name:
            return
        if name not in self.order:
            self.order.append(name)
        if waiting:
            self.calls.setdefault(waiting[0], set()).add(name)
        if name in waiting:
            self.nested.add(name)


def product_file(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(ROOT):
        return None
    name = path.relative_to(ROOT).as_posix()
    return name if name.partition("/")[0] in MAY_IMPORT else None


def documented() -> dict[str, list[str]]:
    """File of the way -> the files that it calls for a value, in the order of the table."""
    section = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("## The way of an image")[1]
    rows = [line.split("|")[1:-1] for line in section.split("\n## ")[0].splitlines() if re.match(r"\| \d+ \|", line)]
    cells = [[re.findall(r"`([\w/]+\.py)`", row[column]) for column in (1, 3)] for row in rows]
    return {file: called for [file], called in cells}


@pytest.fixture(scope="module")
def walk():
    """Of the second reply to an image, when every component is loaded, with an image in it."""
    model = AnyToAny.from_pretrained("nano", device="cpu")
    image = model.chat([{"role": "user", "content": "Draw a red bell."}], steps=2).media[0].array
    part = {"type": "image", "array": image, "rate": None}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "Draw this."}]}]
    model.chat(messages, steps=2)
    with Walk() as walk:
        reply = model.chat(messages, steps=2)
    assert [medium.modality for medium in reply.media] == ["image"]
    return walk


def test_an_image_passes_the_documented_files_in_order(walk):
    way = documented()
    assert [file for file in walk.order if file in way] == list(way)
    assert len(way) <= MOST


def test_all_other_files_return_a_value_and_lead_nowhere(walk):
    """A file beside the way is called from it, directly or by another such file, and never enters the way itself."""
    way = documented()
    beside = [file for file in walk.order if file not in way]
    assert set(beside) == {file for called in way.values() for file in called}
    assert {file: sorted(walk.calls.get(file, set()) & set(way)) for file in beside} == {file: [] for file in beside}
    for file, called in way.items():
        direct = walk.calls.get(file, set()) - set(way)
        indirect = {other for each in direct for other in walk.calls.get(each, set())}
        assert set(called) <= direct | indirect, file


def test_no_file_is_entered_while_it_waits(walk):
    assert walk.nested == set()
