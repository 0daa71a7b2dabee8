"""The expert that hears speech: a real Whisper at tiny size, what counts as speech, and the fetched part."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from data.media.loading import load_medium
from data.parts import PartMissing, part_folder
from nextgpt_lite.experts import (
    ExpertError,
    Experts,
    SpeechExpert,
    load_experts,
    own_experts,
)
from nextgpt_lite.experts.speech import loops, repeats_itself
from nextgpt_lite.parts.lock import is_fetched

WORDS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|nospeech|>", "<|notimestamps|>"]
WORDS += [" red", " cat", " draw", " bell", " green", " snow", " dog", " please"]
RATE = 16000


@pytest.fixture(scope="module", params=[False, True], ids=["english", "multilingual"])
def folder(tmp_path_factory, request):
    """A Whisper of one block, random weights, that hears a second at a time and knows eight words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("whisper")
    config = WhisperConfig(
        vocab_size=len(WORDS), num_mel_bins=8, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, decoder_ffn_dim=16, max_source_positions=50,
        max_target_positions=160, decoder_start_token_id=1, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    settings = {"no_timestamps_token_id": 5, "is_multilingual": request.param, "lang_to_id": {"<|en|>": 2}}
    settings |= {"task_to_id": {"transcribe": 3}, "suppress_tokens": [1, 2, 3, 4, 5], "max_length": 160}
    settings |= {"decoder_start_token_id": 1, "eos_token_id": 0, "pad_token_id": 0, "begin_suppress_tokens": [0]}
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(settings))
    WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, "<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(WORDS[:6])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{kind}_token": "<|endoftext|>" for kind in ("bos", "eos", "pad", "unk")}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "WhisperTokenizer", **names}))
    return folder


def sound(seconds=0.5, rate=RATE, channels=1):
    wave = np.random.default_rng(0).normal(size=(round(seconds * rate), channels)).astype(np.float32)
    return {"type": "audio", "array": wave[:, 0] if channels == 1 else wave, "rate": rate}


@pytest.fixture
def lenient(folder, monkeypatch):
    """An expert that takes anything for speech; the tiny model says one word again and again."""
    monkeypatch.setattr("nextgpt_lite.experts.speech.repeats_itself", lambda words: False)
    return SpeechExpert(folder, max_no_speech=1.0, min_log_probability=-100.0)


def test_spoken_words_come_before_the_text(lenient):
    words = lenient.context(sound())
    assert words and set(words.split()) <= {word.strip() for word in WORDS[6:]}
    messages = [{"role": "user", "content": [sound(), {"type": "text", "text": "and a bell"}]}]
    [message] = Experts([lenient]).add_context(messages)
    assert message["content"][1]["text"].startswith(f"[speech: {words[:20]}")
    assert message["content"][1]["text"].endswith("]\nand a bell")


def test_stereo_and_other_rates_are_heard(lenient):
    assert lenient.context(sound(rate=44100, channels=2))


def test_long_sounds_are_heard_window_by_window(lenient):
    one, two, three = (len(lenient.context(sound(seconds)).split()) for seconds in (0.9, 1.9, 2.9))
    assert 0 < one < two == three, "two windows at most"


def test_a_sound_that_may_hold_no_speech_gives_no_words(folder, monkeypatch):
    monkeypatch.setattr("nextgpt_lite.experts.speech.repeats_itself", lambda words: False)
    assert SpeechExpert(folder, max_no_speech=0.0, min_log_probability=-100.0).context(sound()) == ""
    assert SpeechExpert(folder, max_no_speech=1.0, min_log_probability=-0.01).context(sound()) == ""


def test_repeated_words_are_no_speech(folder, monkeypatch):
    monkeypatch.setattr("nextgpt_lite.experts.speech.repeats_itself", lambda words: "e" in words or "a" in words)
    assert SpeechExpert(folder, max_no_speech=1.0, min_log_probability=-100.0).context(sound()) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Woop! Woop! Woop!", True),
        ("W-w-w-w", True),
        ("Waaaaah!", True),
        ("...", True),
        ("", True),
        ("I am a dog. " * 12, True),
        ("Draw a red cat, please.", False),
        ("Yes.", False),
        ("Play it again and again.", False),
        ("Room 1000", False),
        ("画一只红色的猫", False),
    ],
)
def test_what_repeats_itself(text, expected):
    assert repeats_itself(text) is expected


def test_generation_ends_where_it_loops():
    assert loops(torch.tensor([[9] + [1, 2, 3] * 4]), None).tolist() == [True]
    assert loops(torch.tensor([[1, 2, 3, 4] * 3]), None).tolist() == [False]
    assert loops(torch.tensor([[1, 2, 1]]), None).tolist() == [False]


def test_without_a_folder_the_part_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path))
    with pytest.raises(PartMissing, match="nextgpt-lite models --fetch whisper"):
        load_experts(["hear"])
    assert own_experts(["hear"], lambda: pytest.fail("no encoder is asked for")) is None


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ExpertError, match=r"holds no Whisper model: expected generation_config.json with"):
        load_experts([f"hear={tmp_path}"])


def test_the_models_own_experts_are_heard_by_every_conversation(tiny_model, lenient, monkeypatch):
    messages = [{"role": "user", "content": [sound()]}]
    before = len(tiny_model.prepare(messages).ids)
    monkeypatch.setattr(tiny_model, "experts", Experts([lenient]))
    assert len(tiny_model.prepare(messages).ids) > before


@pytest.mark.slow
def test_the_fetched_part_hears_speech_and_nothing_else(tmp_path):
    if not is_fetched("whisper"):
        pytest.skip("the pretrained part whisper has not been fetched")
    expert = SpeechExpert(part_folder("whisper"))
    seconds = np.arange(2 * RATE) / RATE
    for wave in (np.zeros(RATE), np.sin(2 * np.pi * 440 * seconds), np.random.default_rng(0).normal(size=RATE) / 10):
        assert expert.context({"type": "audio", "array": wave.astype(np.float32), "rate": RATE}) == ""
    if shutil.which("espeak-ng") is None:
        pytest.skip("without espeak-ng there is no speech to hear")
    for text, word in (("What is the capital of France?", "capital"), ("How many cats are in this picture?", "cats")):
        subprocess.run(["espeak-ng", "-s", "140", "-w", tmp_path / "speech.wav", text], check=True)
        medium = load_medium(tmp_path / "speech.wav")
        assert word in expert.context({"type": "audio", "array": medium.array, "rate": medium.rate})
