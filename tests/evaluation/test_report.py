"""How a report shows messages, media and charts."""

import numpy as np

from data import toybox
from data.modalities import MODALITIES
from evaluation.long_context import line_chart
from evaluation.report import ShownConversation, render, write_report

RESULTS = {"suite": "s", "model": {"hash": "m"}, "data": {"hash": "d"}, "seed": 0, "count": 1}


def page(*parts):
    shown = ShownConversation("title", [{"role": "user", "content": list(parts)}], True, "expected")
    return render("benchmark.html", results=RESULTS | {"metrics": {"intervals": {}, "n": {}}}, conversations=[shown])


def test_a_message_escapes_its_text_and_embeds_its_media():
    media = [{"type": m, "array": toybox.render(toybox.sample(0, 0), m)} for m in toybox.MODALITIES]
    html = page({"type": "text", "text": "<b> & co"}, *media)
    assert "&lt;b&gt; &amp; co" in html and "<b>" not in html
    assert html.count("data:image/png") == 4
    assert html.count("data:audio/wav") == 1


def test_the_report_of_things_has_no_hash_of_data(tmp_path):
    results = {name: value for name, value in RESULTS.items() if name != "data"}
    results["metrics"] = {"what": {"answer": 0.5}, "intervals": {}, "n": {}}
    shown = [ShownConversation("title", [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], True, "words")]
    write_report(tmp_path, "things", results, verdicts=[], conversations=shown)
    assert "title" in (tmp_path / "report.html").read_text() and (tmp_path / "results.json").is_file()


def test_a_medium_that_is_a_caption_alone_is_named():
    assert "[image: a &#34;bell&#34;]" in page({"type": "image", "caption": 'a "bell"'})


def test_every_registered_medium_has_a_preview():
    scene = toybox.sample(0, 0)
    for name in toybox.MODALITIES:
        preview = MODALITIES[name].preview(toybox.render(scene, name))
        assert preview.dtype == np.uint8 and preview.ndim == 3 and preview.shape[2] == 3


def test_a_chart_puts_doublings_at_equal_distances():
    chart = line_chart("<t>", {"before": [(512, 10.0), (1024, 100.0), (2048, 1000.0)]}, logarithmic=True)
    [(_, _, points)] = chart["lines"]
    assert [y for _, y in points] == [chart["bottom"], (chart["bottom"] + chart["top"]) / 2, chart["top"]]
    assert points[1][0] - points[0][0] == points[2][0] - points[1][0]
    assert [label for _, label in chart["columns"]] == ["512", "1024", "2048"]
    assert chart["rows"][0][1] == "10" and chart["rows"][-1][1] == "1000"
