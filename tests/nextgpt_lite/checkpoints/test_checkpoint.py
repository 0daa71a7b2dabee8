"""Model folders: what does not fit together is refused by name."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from nextgpt_lite import AnyToAny
from nextgpt_lite.checkpoint import (
    CheckpointError,
    component,
    load_tokenizer,
    model_hash,
    read_manifest,
    resolve_model,
    write_manifest,
)
from nextgpt_lite.core_checkpoint import load_core, save_core
from tests.tiny_model import medium
from train.foundations.language.language_model import train_tokenizer


@pytest.fixture
def edit(tiny_copy):
    """Change the tensors of the core in place."""

    def change(function):
        path = tiny_copy / "core/model.safetensors"
        tensors = load_file(path)
        function(tensors)
        save_file(tensors, path)

    return change


def test_the_manifest_names_every_component(tiny_folder):
    manifest = read_manifest(tiny_folder)
    assert set(manifest["components"]) == {
        "tokenizer", "language_model", "encoder", "core", "image_decoder", "video_decoder", "audio_decoder", "cache",
    }  # fmt: skip
    for entry in manifest["components"].values():
        assert entry.keys() == {"class", "path", "sha256"}
    assert list(tiny_folder.rglob("*.bin")) == []


def test_saving_what_was_loaded_changes_nothing(tiny_copy):
    before, hash_before = load_file(tiny_copy / "core/model.safetensors"), model_hash(read_manifest(tiny_copy))
    save_core(load_core(tiny_copy / "core", tiny_copy / "language_model"), tiny_copy / "core")
    after = load_file(tiny_copy / "core/model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert model_hash(write_manifest(tiny_copy, "tiny")) == hash_before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("gated_prompts.media_gate"), "lacks the key 'gated_prompts.media_gate'"),
        (lambda t: t.update(stranger=torch.zeros(1)), "unknown key 'stranger'"),
        (lambda t: t.update(added_embedding=torch.zeros(3, 32)), r"'added_embedding' has shape \(3, 32\), expected"),
    ],
    ids=["missing", "unknown", "wrong shape"],
)
def test_keys_that_do_not_fit_are_named(tiny_copy, edit, change, said):
    edit(change)
    with pytest.raises(CheckpointError, match=said):
        load_core(tiny_copy / "core", tiny_copy / "language_model")


def test_a_changed_file_is_noticed(tiny_copy, edit):
    edit(lambda tensors: tensors["added_output"].add_(1.0))
    with pytest.raises(CheckpointError, match=r"component 'core' .* is not the one in the manifest: sha256"):
        AnyToAny.from_pretrained(tiny_copy)


def test_a_missing_component_is_named(tiny_copy):
    shutil.rmtree(tiny_copy / "language_model")
    with pytest.raises(CheckpointError, match="component 'language_model' is missing"):
        AnyToAny.from_pretrained(tiny_copy)
    with pytest.raises(CheckpointError, match="has no component 'nose'"):
        component(tiny_copy, read_manifest(tiny_copy), "nose")


def test_another_encoder_is_refused(tiny_copy):
    path = tiny_copy / "encoder/model.safetensors"
    tensors = load_file(path)
    tensors["points.pc_projection"] += 1.0
    save_file(tensors, path)
    write_manifest(tiny_copy, "tiny")
    model = AnyToAny.from_pretrained(tiny_copy)
    with pytest.raises(CheckpointError, match="the core was trained on encoder"):
        model.chat([{"role": "user", "content": [medium("image")]}])


def test_another_base_tokenizer_is_refused(tiny_copy):
    shutil.rmtree(tiny_copy / "tokenizer")
    train_tokenizer(vocabulary=300, texts=5).save_pretrained(tiny_copy / "tokenizer")
    write_manifest(tiny_copy, "tiny")
    with pytest.raises(CheckpointError, match="has 300 tokens, the core expects 700"):
        AnyToAny.from_pretrained(tiny_copy)


def test_a_decoder_of_another_shape_is_refused(tiny_copy):
    shutil.rmtree(tiny_copy / "audio_decoder")
    config = json.loads((tiny_copy / "core/config.json").read_text())
    config["conditions"]["image"], config["conditions"]["audio"] = [5, 16], [1, 16]
    (tiny_copy / "core/config.json").write_text(json.dumps(config))
    tensors = load_file(tiny_copy / "core/model.safetensors")
    tensors["output_projections.image.query_embs"] = torch.zeros(1, 5, 16)
    save_file(tensors, tiny_copy / "core/model.safetensors")
    write_manifest(tiny_copy, "tiny")
    model = AnyToAny.from_pretrained(tiny_copy)
    with pytest.raises(
        CheckpointError, match=r"the image decoder takes conditions \(6, 16\), the core makes \(5, 16\)"
    ):
        model.decoders["image"]
    with pytest.raises(CheckpointError, match="no component 'audio_decoder'"):
        model.decoders["audio"]
    with pytest.raises(ValueError, match="no smell decoder: it has image"):
        model.decoders["smell"]


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was opened')",)


@pytest.mark.parametrize(
    "place", ["language_model/pytorch_model.bin", "image_decoder/unet/diffusion_pytorch_model.bin"]
)
def test_a_pickle_is_never_opened(tiny_copy, place):
    path = tiny_copy / place
    for weights in path.parent.glob("*.safetensors"):
        weights.unlink()
    path.write_bytes(pickle.dumps(Trap()))
    write_manifest(tiny_copy, "tiny")
    with pytest.raises(CheckpointError, match=f"holds {path.name}: only safetensors"):
        AnyToAny.from_pretrained(tiny_copy).decoders["image"]


def test_weights_that_are_no_safetensors(tiny_copy):
    (tiny_copy / "core/model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read as weights"):
        load_core(tiny_copy / "core", tiny_copy / "language_model")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', "\udcff"])
def test_manifests_that_cannot_be_read(tiny_copy, text):
    (tiny_copy / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        AnyToAny.from_pretrained(tiny_copy)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"candidate": {}}, r"manifest.json: unknown key 'candidate': did you mean 'candidates'\?"),
        ({"name": 3}, "manifest.json: name must be text, not 3"),
        ({"components": {"nose": {}}}, "manifest.json: components: unknown component 'nose'"),
        ({"components": {"core": {"path": "core"}}}, "components.core must have the keys class, path or part, sha256"),
    ],
)
def test_a_manifest_may_hold_what_is_known(tiny_copy, changes, sentence):
    path = tiny_copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CheckpointError, match=sentence):
        read_manifest(tiny_copy)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"signal_token": {}}, r"config.json: unknown key 'signal_token': did you mean 'signal_tokens'\?"),
        ({"signal_tokens": {"image": 0}}, "signal_tokens.image must be an integer, at least 1, not 0"),
        ({"signal_tokens": {"smell": 2}}, "signal_tokens: unknown modality 'smell': expected one of image, video"),
        ({"input_modalities": "image"}, "input_modalities must be a list, each item text, not 'image'"),
        ({"embedding_width": "wide"}, "embedding_width must be an integer, at least 1, not 'wide'"),
        ({"output_projection": "qform"}, r"output_projection must be one of .*: did you mean 'qformer'\?"),
        ({"conditions": {"image": [5]}}, "conditions.image must be a list of 2, each item an integer"),
        ({"prompts": {"colour": 1}}, "prompts: unknown key 'colour': expected one of media_tokens"),
        ({"prompts": {"media_tokens": -1}}, "prompts: media_tokens must be an integer, at least 0, not -1"),
    ],
)
def test_the_cores_configuration_is_checked(tiny_copy, changes, sentence):
    path = tiny_copy / "core/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CheckpointError, match=sentence):
        load_core(tiny_copy / "core", tiny_copy / "language_model")


def test_a_core_without_input_modalities_has_those_of_its_time(tiny_copy):
    path = tiny_copy / "core/config.json"
    values = json.loads(path.read_text())
    del values["input_modalities"]
    path.write_text(json.dumps(values))
    core = load_core(tiny_copy / "core", tiny_copy / "language_model")
    assert core.config.input_modalities == ["image", "video", "audio", "points"]
    assert core.config.output_modalities == ("image", "video", "audio")


def test_a_component_of_another_class_is_refused(tiny_copy):
    path = tiny_copy / "manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["components"]["image_decoder"]["class"] == "diffusers.StableDiffusionPipeline"
    manifest["components"]["image_decoder"]["class"] = "diffusers.StableDiffusionXLPipeline"
    with pytest.raises(CheckpointError, match=r"is a diffusers\.StableDiffusionPipeline, the manifest says diffusers"):
        component(tiny_copy, manifest, "image_decoder")


def test_there_is_no_such_model(tmp_path):
    with pytest.raises(CheckpointError, match="no model 'mega': expected 'small' or 'nano' or a folder"):
        resolve_model("mega")
    with pytest.raises(CheckpointError, match="no model"):
        resolve_model(tmp_path)


def test_the_tokenizer_gets_its_added_rows(tiny_folder):
    core = load_core(tiny_folder / "core", tiny_folder / "language_model")
    tokenizer = load_tokenizer(tiny_folder / "tokenizer", core.config)
    assert tokenizer.convert_tokens_to_ids("<image>") == core.table.first
    assert len(tokenizer) == core.config.vocab_size


def test_a_decoder_of_which_only_parts_are_trained_is_left_out_of_the_manifest(tiny_copy):
    (tiny_copy / "image_decoder/model_index.json").unlink()
    manifest = write_manifest(tiny_copy, "tiny", {"image": 2, "audio": 2})
    assert "image_decoder" not in manifest["components"] and "audio_decoder" in manifest["components"]
    assert manifest["candidates"] == {"audio": 2}
