"""Texts, examples and previews of the page."""

import re
from dataclasses import replace

import numpy as np
import pytest

import demo.commands.demo
from data.media.loading import MediaError, load_medium
from data.modalities import MODALITIES
from demo.texts import LANGUAGES, TEXTS, request_for, translate
from nextgpt_lite.cli import main
from nextgpt_lite.conversation_media import attach
from nextgpt_lite.inspection.examples import EXAMPLES, INGREDIENTS, ingredient, portraits, write_examples


@pytest.mark.parametrize("key", TEXTS)
def test_all_words_are_there_in_both_languages(key):
    english, chinese = TEXTS[key]["en"], TEXTS[key]["zh"]
    assert english and chinese
    assert set(re.findall(r"{(\w+)", english)) == set(re.findall(r"{(\w+)", chinese))
    assert not re.search(r"[\u4e00-\u9fff]", english)


def test_texts_are_in_the_language_of_the_page():
    assert translate("en", "step", step=1, total=2) == "step 1 of 2"
    assert list(LANGUAGES) == ["en", "zh"] and translate("zh", "chat") == "对话"
    assert request_for("image", "a bell") == "Draw a bell" and request_for("audio", "狗") == "让我听听狗"
    assert request_for("points", "a drum") == "Generate points: a drum"


def test_examples_cover_every_pair_of_media(tmp_path):
    written = write_examples(tmp_path)
    media = (None, "image", "audio", "video", "points")
    pairs = {(given, made) for given in media for made in ("text", "image", "audio", "video")}
    assert {(example.given, example.made) for example, _ in written} == pairs and len(written) == len(EXAMPLES) == 20
    for example, files in written:
        assert [load_medium(file).modality for file in files] == ([example.given] if example.given else [])
    assert len({picture.tobytes() for picture in portraits(32).values()}) == 16


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_matrix_shows_every_example_once_and_the_empty_page_six(cache, language):
    from demo.page.appearance import matrix
    from demo.page.components.thread import FIRST, empty_page

    shown = [int(number) for number in re.findall(r'data-example="(\d+)"', matrix(language))]
    assert sorted(shown) == list(range(len(EXAMPLES)))
    assert [int(n) for n in re.findall(r'data-example="(\d+)"', empty_page(language))] == list(FIRST) and len(
        FIRST
    ) == 6
    span = {(EXAMPLES[number].given, EXAMPLES[number].made) for number in FIRST}
    assert {("image", "text"), (None, "image"), (None, "video"), (None, "audio")} <= span
    assert EXAMPLES[FIRST[0]].text(language) in empty_page(language) and empty_page(language).count("<p>") == 1


def templates_in_chinese() -> str:
    from demo.page.appearance import matrix, names
    from demo.page.components.composer import composer
    from demo.page.components.conversation_list import conversation_list
    from demo.page.components.thread import empty_page
    from demo.texts import render

    head = render("panel_head", "zh", title=translate("zh", "settings")) + render(
        "top", "zh", runs=True, names=names("zh")
    )
    return composer("zh")["form"] + conversation_list(None, "zh") + empty_page("zh") + matrix("zh") + head


def test_no_english_is_left_in_the_chinese_page(cache):
    page = re.sub(r"<style.*?</style>|data:image[^\"]+", "", templates_in_chinese())
    spoken = "aria-label|title|alt|placeholder|data-(?:remove|uploading|too-many|failed|denied|refused)"
    said = re.findall(rf'(?:{spoken})="([^"]*)"', page)
    said += re.findall(r">([^<>]+)<", page)
    english = [each for each in said if re.search("[A-Za-z]{2,}", re.sub(r"nextgpt_lite|\{name\}", "", each))]
    assert len(said) > 60 and english == []


def test_every_button_has_a_name_and_every_hook_is_no_title(cache):
    from demo.texts import ASSETS

    for button in re.findall(r"<button.*?</button>", templates_in_chinese()):
        assert 'aria-label="' in button or re.search(r">[^<>]+<", button), button
    for file in [*ASSETS.rglob("*.css"), *ASSETS.rglob("*.js")]:
        assert not re.search(r"\[(?:title|aria-label|placeholder)[\^$*~|]?=", file.read_text()), file


def test_an_error_without_a_row_is_said_in_general_words(cache):
    from demo.page.errors import sentence

    assert sentence("zh", "zxcv qwer") == translate("zh", "not_accepted") and sentence("en", "zxcv") == "zxcv"
    assert sentence("zh", ValueError("17 files: at most 16 are read at a time")) == "有 17 个文件：一次最多 16 个。"


def test_each_colour_of_the_theme_is_there_in_the_dark(cache):
    from demo.page.appearance import theme

    made = theme()
    assert made.body_text_color_dark == made.body_text_color == "var(--ink)"


@pytest.mark.parametrize("name", INGREDIENTS)
def test_ingredients_are_media(name):
    part = ingredient(name)
    assert part["type"] == INGREDIENTS[name][0] and part["array"].size > 100


def test_labels_change_every_component_at_once(cache):
    import gradio as gr

    from demo.page.labels import Labels

    labels = Labels()
    with gr.Blocks(analytics_enabled=False):
        button = labels.add(gr.Button(), value="cancel")
        radio = labels.add(
            gr.Radio(), label="model", choices=lambda language: [(translate(language, "image"), "image")]
        )
    assert labels.components == [button, radio]
    assert [update["value"] for update in labels.updates("zh")[:1]] == ["取消"]
    assert labels.updates("en")[1]["choices"] == [("picture", "image")] and labels.updates("en")[1]["label"] == "Model"


def test_a_new_modality_is_shown_by_its_registry_entry(cache, visitor, monkeypatch):
    from data.modalities import MODALITIES
    from demo.page.components.thread import _made
    from demo.page.streamed_reply import Card
    from demo.page.turns import save_for_browser
    from nextgpt_lite import ReplyMedium

    words = {"en": "heat map", "zh": "热图"}
    heat = replace(MODALITIES["points"], name="heat", words=words, preview=lambda array: array[..., None].repeat(3, -1))
    monkeypatch.setitem(MODALITIES, "heat", heat)
    assert request_for("heat", "a bell") == "Generate heat map: a bell" and translate("zh", "heat") == "热图"
    assert _made(Card("heat"), 0, "", "en").making == "making the heat map"
    medium = ReplyMedium("heat", np.zeros((8, 8), np.uint8), None, 4, 0.0)
    file, shown = save_for_browser(medium, visitor.current.folder / "heat")
    assert file.suffix == ".npy" and load_medium(shown).modality == "image"


def test_points_are_drawn_and_odd_formats_written_anew(tmp_path):
    drawn = MODALITIES["points"].preview(np.random.default_rng(0).normal(size=(300, 3)))
    assert drawn.shape == (288, 288, 3) and 0.005 < (drawn < 200).any(-1).mean() < 0.2
    from PIL import Image

    Image.new("RGB", (8, 8), "red").save(tmp_path / "old.bmp")
    part, shown = attach(tmp_path / "old.bmp", tmp_path, 1)
    assert part["type"] == "image" and shown == tmp_path / "attached-1.png"


def test_an_unknown_model_is_said_before_the_page_opens(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # which the command changes
    arguments = ["demo", "--model", str(tmp_path / "nothing"), "--port", "0"]
    assert main(arguments) == 2 and "no model" in capsys.readouterr().err


def test_media_errors_are_among_those_that_are_shown():
    assert issubclass(MediaError, demo.commands.demo.ERRORS)


def test_a_model_is_described_by_its_weights(pool, tiny_folder, taught):
    from demo.engine.model_pool import models_in, weigh

    parameters, size = weigh(tiny_folder)
    assert parameters > sum(value.numel() for value in taught.core.language_model.parameters())
    assert size == sum(file.stat().st_size for file in tiny_folder.rglob("*.safetensors"))
    description = pool.describe(pool.first)
    assert description.startswith(f"{tiny_folder.name} · ") and "cpu" in description and "RAM " in description
    assert models_in(tiny_folder.parent) == [str(tiny_folder)]


def test_models_of_one_name_have_different_names(cache, tiny_folder, tiny_copy, monkeypatch):
    from demo.engine import model_pool as module

    monkeypatch.setattr(module.ModelPool, "_start", lambda self, name: None)  # what is loaded does not matter here
    assert list(module.ModelPool([str(tiny_folder), str(tiny_copy)]).folders) == [str(tiny_folder), str(tiny_copy)]
    assert list(module.ModelPool(["nano", str(tiny_copy)]).folders) == ["nano", "model"]


def test_a_folder_without_models_is_said(cache, tmp_path):
    from demo.engine.model_pool import models_in

    with pytest.raises(demo.commands.demo.ERRORS, match="no model in"):
        models_in(tmp_path)
