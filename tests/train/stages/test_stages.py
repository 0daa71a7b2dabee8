"""The three stages on the tiny model: what each trains, that it resumes, that training and use read the same states."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from encoders.media_encoder import MediaEncoder
from nextgpt_lite.core_checkpoint import load_core, trained_state
from tests.teacher_forced import forced_conditions
from tests.tiny_model import medium
from tests.train.short_recipes import STAGES, stage
from train.dialogues.records import messages_of, toybox_conversations
from train.engine.trainer import TaskTrainer
from train.recipe import RecipeError
from train.run import run_recipe
from train.stages.dialogue_task import DialogueTask
from train.task import build_task


@pytest.fixture(autouse=True)
def cache_in_a_place_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):
    return shutil.copytree(tiny_folder, tmp_path_factory.mktemp("stages") / "model")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_moves_its_parts_and_no_others(name, folder, tmp_path):
    recipe = stage(name, folder)
    task = build_task(recipe)
    before = {part: [p.detach().clone() for p in members] for part, members in task.parts().items()}
    listed = {id(p) for members in task.parts().values() for p in members}
    assert listed == {id(p) for p in task.model.parameters()}, "every parameter belongs to a part"
    TaskTrainer(task, recipe, tmp_path / "run").train()
    for part, members in task.parts().items():
        moved = [not torch.equal(old, new) for old, new in zip(before[part], members, strict=True)]
        assert all(moved) if recipe.learning_rates[part] > 0 else not any(moved), (part, moved)

    task.export(folder)
    reloaded = load_core(folder / task.output, folder / "language_model")
    with torch.no_grad():  # what is written has half precision
        for parameter in trained_state(task.model.core).values():
            parameter.copy_(parameter.half())
        batch = task.collate([task.dataset[0]])
        batch = {key: batch[key] for key in ("input_ids", "media_embeddings") if key in batch}
        assert torch.equal(reloaded(**batch).logits, task.model.core.eval()(**batch).logits)


def test_users_show_the_modalities_that_are_named_and_no_others(folder):
    recipe = stage("encoding_alignment", folder)
    settings = recipe.task_settings | {"modalities": ["audio"], "kinds": ["describe", "talk"]}
    task = build_task(replace(recipe, task_settings=settings))
    rows = [*task.loader.training(), *task.loader.held_out()]
    assert {medium.modality for row in rows for medium in row.media} == {"audio"}
    assert {row.kind for row in rows} == {"describe", "talk"}


def test_a_resumed_stage_ends_with_the_same_weights(tiny_copy, tmp_path):
    recipe = stage("instruction_tuning", tiny_copy, ema=0.9)
    figures = run_recipe(recipe, tmp_path / "run")
    whole = load_file(tiny_copy / "core/model.safetensors")
    shutil.rmtree(tmp_path / "run/checkpoint-4")
    assert run_recipe(recipe, tmp_path / "run", resume=True) == figures
    again = load_file(tiny_copy / "core/model.safetensors")
    assert whole.keys() == again.keys()
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []


def test_another_encoder_is_refused_unless_the_recipe_knows_of_it(tiny_copy):
    core = load_core(tiny_copy / "core", tiny_copy / "language_model")
    encoder = MediaEncoder.from_pretrained(tiny_copy / "encoder")
    with torch.no_grad():
        next(encoder.points.parameters()).add_(0.1)
    encoder.save_pretrained(tiny_copy / "encoder")
    recipe = stage("instruction_tuning", tiny_copy)
    with pytest.raises(RecipeError, match=f"trained on encoder {core.config.encoder_identity[:12]}, this one is"):
        build_task(recipe)
    task = build_task(replace(recipe, task_settings=recipe.task_settings | {"new_encoder": True}))
    task.export(tiny_copy)
    written = load_core(tiny_copy / "core", tiny_copy / "language_model")
    assert written.config.encoder_identity == encoder.identity != core.config.encoder_identity


@pytest.fixture(scope="module")
def task(tiny_folder, tmp_path_factory):
    """Instruction tuning as it stands before its first step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cache"))
        built = build_task(stage("instruction_tuning", tiny_folder))
    built.model.eval()
    return built


@torch.no_grad()
def test_signal_tokens_are_asked_for_the_words_of_their_caption(task):
    table = task.model.core.table
    rows = mixed_rows(task)
    batch = task.collator(rows)
    for modality in ("image", "video", "audio"):
        captions = [caption for row in rows for caption in row.captions[modality]]
        count = table.counts[modality]
        assert batch[f"words_{modality}"].shape == (len(captions), count)
        names = {number: word for word, number in task.collator.words.items()}
        for labels, caption in zip(batch[f"words_{modality}"].tolist(), captions, strict=True):
            known = [word if word in task.collator.words else "" for word in caption.split()[:count]]
            assert [names[label] for label in labels] == known + [""] * (count - len(known))
    losses = task.model(**batch)
    parts = losses["language"] + sum(
        2.0 * losses[f"caption_{m}"] + losses[f"words_{m}"] for m in ("image", "video", "audio")
    )
    torch.testing.assert_close(losses["loss"], parts)


def spans_of(row, table, modality):
    """Where the spans of ``modality`` begin in a row."""
    return [i for i, token in enumerate(row.ids) if token == table.spans[modality].start]


def mixed_rows(task):
    """Dialogues with media in and media out, of different lengths and numbers of media."""
    conversations = toybox_conversations(77, 12, ["convert", "multi", "edit", "follow"])
    rows = task.loader.prepare(map(task.loader.encoder.row, conversations))
    assert len({len(row.media) for row in rows}) > 1
    return rows


@torch.no_grad()
def test_conditions_of_a_batch_are_those_of_each_span_alone(task):
    core, rows = task.model.core, mixed_rows(task)
    batch = task.collator(rows)
    hidden = core(batch["input_ids"], media_embeddings=batch["media_embeddings"]).last_hidden_state
    for modality in ("image", "video", "audio"):
        together = list(core.conditions(batch["input_ids"], hidden, modality))
        targets = list(batch.get(f"target_{modality}", []))
        assert len(together) == len(targets)
        for row in rows:
            ids = torch.tensor([row.ids])
            media = torch.stack([task.loader.embeddings[medium] for medium in row.media])[None] if row.media else None
            alone = core(ids, media_embeddings=media).last_hidden_state
            starts = spans_of(row, core.table, modality)
            assert len(starts) == len(row.captions[modality])
            for start, caption in zip(starts, row.captions[modality], strict=True):
                part = slice(start, start + core.table.counts[modality])
                own = core.output_projections[modality](alone[:, part], core.embed_text(ids)[:, part])
                torch.testing.assert_close(together.pop(0), own[0], atol=1e-5, rtol=1e-4)
                wanted = task.decoders[modality].encode_caption([caption])[0]
                torch.testing.assert_close(targets.pop(0), wanted, atol=2e-3, rtol=2e-3)


@torch.no_grad()
def test_a_medium_is_seen_at_its_own_placeholder(task):
    rows = mixed_rows(task)
    number = max(range(len(rows)), key=lambda i: len(rows[i].media))
    row = rows[number]
    assert len(row.media) >= 2
    batch = task.collator([row])
    places = task.model.core.table.placeholder_mask(batch["input_ids"])[0].nonzero().flatten()
    plain = task.model.core(batch["input_ids"], media_embeddings=batch["media_embeddings"]).logits[0]
    for slot, place in enumerate(places[:: task.model.core.table.input_tokens]):
        changed = batch["media_embeddings"].clone()
        changed[:, slot] = -changed[:, slot]
        other = task.model.core(batch["input_ids"], media_embeddings=changed).logits[0]
        assert torch.equal(plain[:place], other[:place])
        assert not torch.equal(plain[place], other[place])


@torch.no_grad()
def test_teacher_forcing_equals_generation(task):
    """Hidden states of signal tokens: one full pass, right-padded training rows, and cached steps give the same."""
    core, table = task.model.core, task.model.core.table
    media = torch.nn.functional.normalize(torch.randn(2, task.encoder.width), dim=-1)
    parts = [{**medium("image"), "embedding": media[0]}, {**medium("audio"), "embedding": media[1]}]
    from nextgpt_lite.conversation import encode

    ids, _, _ = encode([{"role": "user", "content": parts}], task.tokenizer, table)
    reply = [*task.tokenizer("Here is a bell.")["input_ids"], *table.spans["video"], *table.spans["image"]]
    found = forced_conditions(core, ids, media, reply)

    cached = core(torch.tensor([ids]), media_embeddings=media[None], use_cache=True)
    states = []
    for token in reply:  # as generate does: the media enter with the prompt only
        cached = core(torch.tensor([[token]]), past_key_values=cached.past_key_values, use_cache=True)
        states.append(cached.last_hidden_state[:, -1])
    hidden = torch.stack(states, dim=1)  # (1, T, D)
    for modality in ("video", "image"):
        stepwise = core.conditions(torch.tensor([reply]), hidden, modality)
        torch.testing.assert_close(found[modality][0], stepwise[0], atol=1e-5, rtol=1e-4)

    padded = torch.tensor([[*ids, *reply, *[0] * 9]])
    trained = core(padded, media_embeddings=media[None]).last_hidden_state
    torch.testing.assert_close(found["video"][0], core.conditions(padded, trained, "video")[0], atol=1e-5, rtol=1e-4)


def test_training_rows_are_what_chat_reads(task, tiny_model):
    """The ids before a reply in a training row are those that chat hands to the model for the same messages."""
    from data.toybox import dialogue
    from nextgpt_lite.conversation import encode

    table = task.model.core.table
    for index in range(6):
        messages = messages_of(dialogue(5, index, kind="convert"))
        whole, mask, _ = encode(messages, task.tokenizer, table, reply=False)
        asked, _, _ = encode(messages[:-1], tiny_model.tokenizer, table)
        assert whole[: len(asked)] == asked
        assert all(mask[len(asked) :]), "the last reply is learnt to its end"


def test_a_stage_needs_a_core():
    class NoCore(DialogueTask):
        """A stage that does not say where its core comes from."""

    with pytest.raises(TypeError, match="load_core"):
        NoCore({}, "model")  # type: ignore[abstract]  # this is what is tested


def test_a_missing_component_is_said_in_one_sentence(tiny_copy):
    from train.recipe import RecipeError

    shutil.rmtree(tiny_copy / "encoder")
    with pytest.raises(RecipeError, match="encoder"):
        build_task(stage("encoding_alignment", tiny_copy))


def test_mismatched_media_are_of_training_alone_and_nothing_to_aim_at(tiny_folder):
    def scenes(rows):
        return [part.scene for row in rows for parts in row.targets.values() for part in parts]

    def task_with(**settings):
        recipe = stage("instruction_tuning", tiny_folder)
        edits = {"kinds": ["edit"], "dialogues": 8, "held_out": 8}
        return build_task(replace(recipe, task_settings=recipe.task_settings | edits | settings))

    plain, wrong = task_with().loader, task_with(misdrawn=1.0).loader
    pairs = list(zip(scenes(plain.training()), scenes(wrong.training()), strict=True))
    assert pairs and all(one != other for one, other in pairs)
    assert scenes(plain.held_out()) == scenes(wrong.held_out())
    with pytest.raises(RecipeError, match="mismatched_media must be 0"):
        task_with(misdrawn=1.0, noise_weight=0.5)
