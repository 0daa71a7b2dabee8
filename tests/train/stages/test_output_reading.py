"""Output projections learn to read words without a pass of the language model, and generate from what they read."""

import json
import shutil

import pytest
import torch

from adapters import ReadingProjection
from data.parts import VARIABLE
from decoders.phrases import SLOTS
from nextgpt_lite.checkpoint import load_tokenizer
from nextgpt_lite.core_checkpoint import load_core, new_core, save_core
from nextgpt_lite.generate import Prepared, Sampling, end_tokens, generate
from tests.tiny_parts import write_parts
from train.settings import RecipeError
from train.stages.output_reading import OutputReadingTask, Span

PROJECTION = {"words": 12, "width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16}
SETTINGS = {"dialogues": 40, "held_out": 20, "projection": PROJECTION, "other_nouns": 0.0}


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    """The tiny model, its decoders' conditions phrases, and tiny parts."""
    cache = tmp_path_factory.mktemp("parts")
    write_parts(cache)
    out = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("reading") / "model")
    config = load_core(out / "core_decoding", out / "language_model").config
    config.conditions = dict.fromkeys(config.conditions, (SLOTS, 24))
    save_core(new_core(config, out / "language_model"), out / "core_decoding")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(cache))
        yield out


@pytest.fixture(scope="module")
def task(folder):
    torch.manual_seed(0)
    return OutputReadingTask(SETTINGS, folder)


def test_what_is_read_are_the_words_before_the_signal_tokens(task):
    spans = list(task.spans(24, 20))
    assert spans and {span.modality for span in spans} <= set(task.core.table.spans)
    words = [task.tokenizer.decode(span.words) for span in spans]
    assert all(len(span.words) <= PROJECTION["words"] and text for span, text in zip(spans, words, strict=True))


def test_projections_learn_from_words_alone(task, folder):
    optimiser = torch.optim.Adam(task.parts()["output_projections"], lr=3e-3)
    batch = task.collate([task.dataset[index] for index in range(16)])
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        parts = task.model(**batch)
        parts["loss"].backward()
        optimiser.step()
        losses.append(parts["loss"].item())
    assert losses[-1] < 0.6 * losses[0]
    assert {"image_cosine", "image_silence"} <= set(task.evaluate())
    task.export(folder)
    core = load_core(folder / "core_reading", folder / "language_model")
    assert core.config.output_projection == "reading"
    for modality, projection in core.output_projections.items():
        assert isinstance(projection, ReadingProjection) and not projection.in_fc.weight.any()
        trained = task.core.output_projections[modality].out_fc.weight
        torch.testing.assert_close(projection.out_fc.weight, trained, atol=1e-3, rtol=1e-2)
    again = OutputReadingTask(SETTINGS | {"start": "core_reading"}, folder)  # goes on: no map is fitted anew
    learned = core.output_projections["image"].meaning.weight
    assert torch.equal(again.core.output_projections["image"].meaning.weight, learned)


def test_a_reply_reads_the_words_of_its_request(task, folder):
    core = task.core
    tokenizer = load_tokenizer(folder / "tokenizer", core.config)
    made = []
    for text in ("draw a red cat", "draw a green dog"):
        ids = tokenizer.encode(text)
        request = Prepared(ids, []), Sampling(2, required_modality="image")
        [row] = generate(core, end_tokens(core, tokenizer), [request])
        made.append(row.conditions[-1][1])
        before = [*ids, *row.reply_ids[: row.reply_ids.index(core.table.spans["image"].start)]]
        batch = task.collate([Span("image", before[-PROJECTION["words"] :], "a cat")])
        torch.testing.assert_close(made[-1], task.model.conditions("image", batch)[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(made[0], made[1])


def test_padding_before_the_words_changes_nothing():
    torch.manual_seed(0)
    projection = ReadingProjection(8, (3, 5), **PROJECTION).eval()
    states, words = torch.randn(1, 2, 8), torch.randn(1, 4, 8)
    alone = projection(states, states, words, torch.zeros(1, 4, dtype=torch.bool))
    padded = torch.cat((torch.randn(1, 3, 8), words), dim=1)
    padding = torch.tensor([[True] * 3 + [False] * 4])
    torch.testing.assert_close(projection(states, states, padded, padding), alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(projection(states * 0, states, words, padding[:, 3:]), alone, atol=1e-5, rtol=1e-4)
    torch.nn.init.normal_(projection.in_fc.weight)
    assert not torch.allclose(
        projection(states * 0, states, words, padding[:, 3:]), projection(states, states, words, padding[:, 3:])
    )


def test_refusals(folder, tiny_folder):
    with pytest.raises(RecipeError, match="world of things"):
        OutputReadingTask(SETTINGS | {"data": []}, folder)
    shape = json.loads((tiny_folder / "core_decoding" / "config.json").read_text())["conditions"]["image"]
    with pytest.raises(RecipeError, match=rf"phrases \({SLOTS}, 24\).*image are \({shape[0]}, {shape[1]}\)"):
        OutputReadingTask(SETTINGS, tiny_folder)
