"""The suite on a manifest: through the command line, and its metrics on known replies."""

import json

import numpy as np
import pytest
from transformers import AutoConfig

from data import toybox
from data.toybox import write_toybox
from encoders.media_encoder import MediaEncoder
from evaluation.metrics.features import features_of
from evaluation.own_data import Question, compare, f1, measure, questions_of
from nextgpt_lite import AnyToAny
from nextgpt_lite.any_to_any import Reply, ReplyMedium
from nextgpt_lite.checkpoint import write_manifest
from nextgpt_lite.cli import main
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import new_core, save_core

NETWORKS = {"image": features_of("descriptor", "image")}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_toybox(tmp_path_factory.mktemp("own") / "toybox", 2, 5, ("image", "audio"))


def test_the_command_writes_results_and_report(tiny_folder, manifest, tmp_path, capsys):
    arguments = ["evaluate", "any_to_any", "--model", str(tiny_folder), "--data", str(manifest)]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["count"] == 2 and results["metrics"]["questions"] == 4
    assert "words_f1" in capsys.readouterr().out
    assert "on your own data" in (tmp_path / "report.html").read_text()


def test_a_bad_line_is_reported_before_anything_is_written(tiny_folder, tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "judge", "content": "guilty"}]}\n')
    out = tmp_path / "out"
    arguments = ["evaluate", "any_to_any", "--model", str(tiny_folder), "--data", str(bad), "--out", str(out)]
    assert main(arguments) == 2
    assert "judge" in capsys.readouterr().err
    assert not out.exists()


def refused(arguments, sentence, capsys, monkeypatch):
    """Whether the suite ends in the sentence before it has loaded a model."""
    monkeypatch.setattr("nextgpt_lite.AnyToAny.from_pretrained", lambda folder: pytest.fail("a model was loaded"))
    return main(["evaluate", "own_data", *arguments]) == 2 and sentence in capsys.readouterr().err


def test_what_cannot_be_read_is_found_before_a_model_is_loaded(manifest, tmp_path, capsys, monkeypatch):
    data = ["--data", str(manifest), "--out", str(tmp_path / "out")]
    assert refused([*data, "--features", "resnet"], "unknown features 'resnet'", capsys, monkeypatch)
    lines = manifest.read_text().splitlines()
    broken = manifest.with_name("broken.jsonl")
    broken.write_text(json.dumps(json.loads(lines[0]) | {"meta": {"attributes": ["bell"]}}) + "\n")
    data[1] = str(broken)
    assert refused(data, "meta.attributes must map names to values", capsys, monkeypatch)
    (tmp_path / "none.png").write_bytes(b"no image")
    content = [{"type": "image", "path": str(tmp_path / "none.png")}]
    said = [{"role": "user", "content": content}, {"role": "assistant", "content": "a bell"}]
    broken.write_text(json.dumps({"messages": said}) + "\n")
    assert refused(data, "none.png", capsys, monkeypatch)
    assert not (tmp_path / "out").exists()


def test_media_that_the_features_do_not_read_are_not_compared(tiny_folder, tmp_path):
    manifest = write_toybox(tmp_path / "points", 2, 5, ("points",))
    words = ["--data", str(manifest), "--features", "oracle", "--out", str(tmp_path / "out")]
    assert main(["evaluate", "own_data", "--model", str(tiny_folder), *words]) == 0
    features = json.loads((tmp_path / "out/results.json").read_text())["features"]
    assert set(features) == {"image", "video", "audio"} and features["image"]["hash"]


def image(index):
    return {"type": "image", "array": toybox.render(toybox.sample(1, index), "image"), "rate": None}


def reply(text, *media):
    return Reply(text, [ReplyMedium(m["type"], m["array"], m["rate"], 4, 0.0) for m in media])


def test_figures_of_known_replies():
    questions = [Question([], "Here is a cat.", [image(0)]), Question([], "It is a dog.", []),
                 Question([], "Here is a bee.", [image(1)])]  # fmt: skip
    right = [reply("Here is a cat.", image(0)), reply("It is a dog."), reply("here is a bee", image(1))]
    figures = measure(compare(questions, right, NETWORKS))
    assert figures["routing_precision"] == figures["routing_recall"] == figures["words_same"] == 1
    assert figures["image"]["cosine"] == pytest.approx(1, abs=1e-5)
    assert figures["image"]["nearest"] == 1 and figures["image"]["made"] == 2
    assert figures["n"] == {"routing_precision": 2, "routing_recall": 2, "image.nearest": 2, "image.cosine": 2,
                            **dict.fromkeys(("words_same", "words_f1", "rouge_l", "cider_d", "bleu_4"), 3)}  # fmt: skip
    assert set(figures["n"]) - set(figures["intervals"]) == {"bleu_4"}
    swapped = [reply("No.", image(1)), reply("It is a dog.", image(0)), reply("", image(0))]
    figures = measure(compare(questions, swapped, NETWORKS))
    assert figures["routing_precision"] == pytest.approx(2 / 3) and figures["routing_recall"] == 1
    assert figures["image"]["nearest"] == 0 and figures["image"]["cosine"] < 1


def test_a_core_that_reads_patches_is_measured_too(tiny_copy, manifest, tmp_path):
    own = json.loads((tiny_copy / "core/config.json").read_text())
    rebuild_with_patches(tiny_copy, own)
    arguments = ["evaluate", "any_to_any", "--model", str(tiny_copy), "--data", str(manifest), "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "results.json").read_text())["metrics"]["questions"] == 4
    model = AnyToAny.from_pretrained(tiny_copy)
    assert model.core.config.reads_patches
    questions = [Question([], "", [image(0)]), Question([], "", [image(1)])]
    figures = measure(compare(questions, [reply("", image(0)), reply("", image(1))], NETWORKS))
    assert figures["image"]["cosine"] == pytest.approx(1, abs=1e-5) and figures["image"]["nearest"] == 1


def rebuild_with_patches(folder, own):
    """The tiny model with a core that reads patch tokens."""
    encoder = MediaEncoder.from_pretrained(folder / "encoder")
    kept = ("signal_tokens", "conditions", "output_projection", "output_projection_settings", "embedding_width")
    config = CoreConfig(
        text_config=AutoConfig.from_pretrained(folder / "language_model"),
        first_added_token=own["first_added_token"],
        encoder_identity=encoder.identity,
        input_features="patches",
        input_projection="mlp2x_gelu",
        input_projection_settings={},
        input_tokens=encoder.patch_counts(),
        prompts={"media_tokens": 0},
        **{name: own[name] for name in kept},
    )
    save_core(new_core(config, folder / "language_model"), folder / "core")
    write_manifest(folder, "patches")


def test_a_medium_that_is_a_caption_alone_is_compared_with_nothing():
    asked = [Question([], "", [{"type": "image", "caption": "a bell"}]), Question([], "", [image(1)])]
    figures = measure(compare(asked, [reply("", image(0)), reply("", image(1))], NETWORKS))
    assert figures["routing_recall"] == 1 and figures["image"]["made"] == 1


def test_f1_counts_words_and_chinese_characters():
    assert f1("a red bell", "A red bell!") == 1
    assert f1("a red bell", "a blue bell") == pytest.approx(2 / 3)
    assert f1("红色的铃铛", "红色的猫") == pytest.approx(6 / 9)
    assert f1("bell", "") == 0


def test_every_turn_of_the_assistant_is_a_question(manifest):
    from data.manifest import read_manifest

    first, second = questions_of(next(read_manifest(manifest)))
    assert len(first.messages) == 1 and len(second.messages) == 3
    assert all(isinstance(p["array"], np.ndarray) for m in second.messages for p in m["content"] if p["type"] != "text")
