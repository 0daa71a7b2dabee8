"""The expert on speech."""

import re
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.resampling import resample
from data.strict import read_json
from nextgpt_lite.experts.base import LOCAL, ExpertError

#: Tokens of speech in a window of 30 seconds, and how far its words may compress (Whisper, 2212.04356, Sec. 4.5).
MAX_WORDS, MAX_COMPRESSION = 120, 2.4


class SpeechExpert:
    """A Whisper model: the words that are spoken in a sound, and nothing for a sound without speech.

    Whisper hears words in anything. They count as speech where it thinks so itself (``max_no_speech``, the probability
    that nobody speaks, and ``min_log_probability``, a mean over tokens) and where it does not repeat itself, which is
    how it writes down a bark or a siren. Of 104 sounds without speech the defaults let two cries through ("Yeah!").
    """

    name = "speech"
    reads = ("audio",)

    def __init__(
        self, folder: str | Path, max_no_speech: float = 0.25, min_log_probability: float = -1.1, windows: int = 2
    ) -> None:
        settings = Path(folder) / "generation_config.json"
        if not settings.is_file() or "no_timestamps_token_id" not in read_json(settings):
            raise ExpertError(f"{folder} holds no Whisper model: expected {settings.name} with no_timestamps_token_id")
        self.folder, self.windows = folder, windows
        self.max_no_speech, self.min_log_probability = max_no_speech, min_log_probability

    @cached_property
    def processor(self) -> Any:
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(self.folder, **LOCAL)

    @cached_property
    def model(self) -> Any:
        """Loaded when there is a first sound: most conversations have none."""
        from transformers import WhisperForConditionalGeneration

        model = WhisperForConditionalGeneration.from_pretrained(
            self.folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        model.generation_config.max_length = None  # the one limit is MAX_WORDS
        return model.eval()

    @torch.no_grad()
    def context(self, part: dict[str, Any]) -> str:
        """The words of the first ``windows`` windows of 30 seconds."""
        extractor = self.processor.feature_extractor
        wave = torch.as_tensor(np.asarray(part["array"], np.float32))  # (N,) or (N, channels)
        wave = wave.mean(1) if wave.ndim == 2 else wave
        wave = resample(wave[None], round(part["rate"]), extractor.sampling_rate)[0]
        windows = wave.split(extractor.n_samples)[: self.windows]
        return " ".join(filter(None, (self._hear(window.numpy()) for window in windows)))

    def _hear(self, window: np.ndarray) -> str:
        from transformers import GenerationMixin, StoppingCriteriaList

        extractor = self.processor.feature_extractor
        features = extractor(window, sampling_rate=extractor.sampling_rate, return_tensors="pt").input_features
        encoded = self.model.get_encoder()(features)
        config = self.model.generation_config
        start = torch.tensor([[config.decoder_start_token_id]])
        first = self.model(encoder_outputs=encoded, decoder_input_ids=start).logits[0, -1].softmax(-1)
        if first[config.no_timestamps_token_id - 1] > self.max_no_speech:  # the token that says so stands before it
            return ""
        prompt = self._prompt(encoded, config)
        common: Any = GenerationMixin  # Whisper's own `generate` is for long recordings
        made = common.generate(
            self.model, encoder_outputs=encoded, decoder_input_ids=prompt, do_sample=False, max_new_tokens=MAX_WORDS,
            return_dict_in_generate=True, output_logits=True, stopping_criteria=StoppingCriteriaList([loops]),
        )  # fmt: skip
        tokens = made.sequences[0, prompt.shape[1] :]
        chosen = torch.cat(made.logits).log_softmax(-1).gather(1, tokens[:, None])
        words = self.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return "" if chosen.mean() < self.min_log_probability or repeats_itself(words) else words

    def _prompt(self, encoded: Any, config: Any) -> torch.Tensor:
        """(1, tokens): start, for a model of many languages the one that it hears, no time stamps."""
        tokens = [config.decoder_start_token_id]
        if config.is_multilingual:
            tokens += [int(self.model.detect_language(encoder_outputs=encoded)[0]), config.task_to_id["transcribe"]]
        return torch.tensor([[*tokens, config.no_timestamps_token_id]])


def loops(ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
    """Whether the last twelve of the tokens (1, N) are three at most: there is nothing more to come. (1,)"""
    last = ids[0, -12:].tolist()
    return torch.tensor([len(last) == 12 and len(set(last)) <= 3])


def repeats_itself(text: str) -> bool:
    """Whether ``text`` is no words but one again and again, a letter drawn out, or what compresses as loops do."""
    words = re.findall(r"\w+", text.lower())
    content = text.encode()
    looped = len(content) > MAX_COMPRESSION * len(zlib.compress(content))
    drawn_out = re.search(r"([^\W\d])\1\1", text.lower()) is not None
    return not words or looped or drawn_out or (len(words) > 1 and len(set(words)) == 1)
