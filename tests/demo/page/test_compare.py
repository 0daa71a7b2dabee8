"""One message to two sides: both answer at once, each with its own settings, and nothing is left of the one before."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest

from data.media.loading import Medium, load_medium
from data.media.saving import save_medium
from tests.demo.page_client import PageClient
from tests.demo.taught import HELLO, SEEN
from tests.tiny_model import medium


@pytest.fixture
def tab(pool):
    import gradio as gr

    from demo.page.compare_tab import CompareTab
    from demo.page.labels import Labels

    with gr.Blocks(analytics_enabled=False):
        tab = CompareTab(pool, gr.State(None), Labels())
        tab.build()
        tab.wire()
    return tab


def side(tab, seed=0, steps=2, guidance=0, temperature=0.0):
    return [tab.pool.first, seed, steps, guidance, temperature]


def compare(tab, visitor, text, *files, a=None, b=None):
    """Everything that was shown: (box, message, A, B)."""
    value = {"text": text, "files": [str(file) for file in files]}
    return list(tab.compare(visitor, value, *(a or side(tab)), *(b or side(tab, seed=1))))


def answers(shown):
    """The last answers that were shown."""
    return next(each[2:] for each in reversed(shown) if isinstance(each[2], str))


def media(answer: str) -> list[Path]:
    return [Path(unquote(path)) for path in re.findall(r'src="/gradio_api/file=([^"]+)"', answer)]


def test_both_sides_answer_with_text_and_media(tab, visitor):
    shown = compare(tab, visitor, "film it and play it")
    both = answers(shown)
    for name, answer in zip("AB", both, strict=True):
        assert "Watch and listen." in answer and f"<h3>{name}" in answer and "tokens" in answer
        assert [load_medium(path).modality for path in media(answer)] == ["video", "audio"]
        assert all(path.is_relative_to(visitor.current.folder) for path in media(answer))
    assert shown[0][0].stop_btn and not shown[-1][0].stop_btn and shown[-1][0].submit_btn
    first, second = (media(answer)[0].read_bytes() for answer in both)
    assert first != second  # other seeds
    assert "Seed 1" in both[1] and "Seed" not in both[0]


def test_the_same_settings_give_the_same_answer_twice(tab, visitor):
    first, second = answers(compare(tab, visitor, "film it and play it", a=side(tab, seed=5), b=side(tab, seed=5)))
    arrays = [[load_medium(path).array for path in media(answer)] for answer in (first, second)]
    assert all((one == other).all() for one, other in zip(*arrays, strict=True)) and len(arrays[0]) == 2


def test_a_file_is_read_once_for_both(tab, visitor, tmp_path):
    picture = save_medium(Medium("image", medium("image")["array"]), tmp_path / "seen.png")
    shown = compare(tab, visitor, "what is this?", picture)
    assert all(SEEN in answer for answer in answers(shown))
    [kept] = media(shown[0][1])
    assert kept.read_bytes() == picture.read_bytes() and kept.is_relative_to(visitor.current.folder)


def test_both_are_requested_before_either_is_answered(tab, visitor, pool):
    go_on, engine = threading.Event(), pool.engine()
    engine.call(lambda model: go_on.wait(60))
    shown = tab.compare(visitor, {"text": "hello", "files": []}, *side(tab), *side(tab, seed=1))
    next(shown)
    assert next(shown)[2:] != ("", "") and engine.unfinished == 2
    go_on.set()
    assert all(HELLO in answer for answer in answers(list(shown)))


def test_both_are_stopped(tab, visitor, pool):
    go_on, engine = threading.Event(), pool.engine()
    engine.call(lambda model: go_on.wait(60))
    shown = tab.compare(visitor, {"text": "film it and play it", "files": []}, *side(tab, steps=50), *side(tab))
    next(shown), next(shown)
    tab.stop(visitor)
    go_on.set()
    assert all("(stopped)" in answer for answer in answers(list(shown))) and engine.unfinished == 0


def test_what_is_refused_leaves_nothing_behind(tab, visitor, pool, tmp_path, monkeypatch):
    (tmp_path / "fake.png").write_text("no picture")
    monkeypatch.setattr(pool.engine(), "queue_limit", 1)
    refused = [
        ("", [], "Write a message"), ("look", [tmp_path / "fake.png"], "fake.png"),
        ("hello", [], "requests are waiting"), ("a\ud800", [], "broken text"),
    ]  # fmt: skip
    for text, files, sentence in refused:
        with pytest.warns(UserWarning, match=sentence):  # a toast, on a page
            last = compare(tab, visitor, text, *files)[-1]
        assert last[1:] == ("", "", "") and last[0].submit_btn and last[0].value["text"] == text
    pool.engine().call(lambda model: None).result()
    assert pool.engine().unfinished == 0


def test_settings_out_of_range_are_refused(tab, visitor):
    for wrong in ({"steps": 1000}, {"temperature": 99}, {"seed": -1}, {"guidance": 1e9}):
        with pytest.warns(UserWarning, match=f"{next(iter(wrong))} is .*: expected"):
            shown = compare(tab, visitor, "hello", b=side(tab, **wrong))
        assert shown[-1][1:] == ("", "", "")


def test_media_of_the_comparison_before_are_deleted(tab, visitor):
    before = media(answers(compare(tab, visitor, "film it and play it"))[0])
    after = media(answers(compare(tab, visitor, "film it and play it"))[0])
    assert not any(path.exists() for path in before) and all(path.exists() for path in after)


def test_words_are_shown_as_they_were_typed(tab, visitor):
    message = compare(tab, visitor, "<script>alert(1)</script> & <b>")[0][1]
    assert "&lt;script&gt;" in message and "<script" not in message and "<b>" not in message


def test_the_page_compares(page_address):
    page = PageClient(page_address).enter()
    event = page.events[(page.ids["compare-box"], "submit")]
    settings = [None, 0, 2, 0, 0, None, 1, 2, 0, 0]
    shown = page.join(event, [None, {"text": "film it and play it", "files": []}, *settings])
    for answer in shown[2:]:
        found = re.findall(r'src="(/gradio_api/file=[^"]+)"', answer)
        assert len(found) == 2 and all(page.get(address).status_code == 200 for address in found)
