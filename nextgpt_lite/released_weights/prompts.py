"""The prompts under which NExT-GPT's and LLaVA's published weights were trained, as ids and labels.

A conversation is a list of (speaker, text) of their records, speaker ``human`` or ``gpt``; ``<image>``, ``<video>`` and
``<audio>`` in it are media: what a human gives comes in, what gpt gives becomes a signal span. Signal tokens stand next
to each other here, where the newest code puts a space between each two.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from nextgpt_lite.signal_tokens import SignalTable, signal_span

IGNORED = -100
MEDIUM = re.compile("<(image|video|audio)>")
VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass
class _Prompt:
    """Ids and labels as they grow. Text is kept until a medium or the end, so that it is tokenised in one piece."""

    tokenizer: PreTrainedTokenizerBase
    table: SignalTable
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    text: str = ""
    labelled: list[tuple[int, int]] = field(default_factory=list)  # what the loss sees of the text, by characters

    def write(self, text: str, labelled: bool = False) -> None:
        if labelled:
            self.labelled.append((len(self.text), len(self.text) + len(text)))
        self.text += text

    def tokenise(self) -> None:
        """Turn the text so far into ids."""
        encoded = self.tokenizer(self.text, add_special_tokens=False, return_offsets_mapping=True)
        for token, (start, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            seen = any(first <= start < last for first, last in self.labelled)
            self.ids.append(token)
            self.labels.append(token if seen else IGNORED)
        self.text, self.labelled = "", []

    def medium(self, modality: str) -> None:
        """The placeholders of a medium that comes in; the text before and after it is tokenised apart."""
        self.tokenise()
        count = self.table.placeholders_of(modality).count("<")
        self.ids += [self.table.placeholders[modality]] * count
        self.labels += [IGNORED] * count

    def ask(self, text: str) -> None:
        """What a human says, its media in their places."""
        end = 0
        for found in MEDIUM.finditer(text):
            self.write(text[end : found.start()])
            self.medium(found[0][1:-1])
            end = found.end()
        self.write(text[end:])

    def answer(self, text: str) -> None:
        """What the loss sees: words and signal spans."""
        counts = self.table.counts
        self.write(MEDIUM.sub(lambda found: "".join(signal_span(found[0][1:-1], counts[found[0][1:-1]])), text), True)


def vicuna(
    conversation: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, table: SignalTable
) -> tuple[list[int], list[int]]:
    """Ids and labels of Vicuna's prompt (``v1`` in NExT-GPT's newest code and in LLaVA)."""
    prompt = _Prompt(tokenizer, table)
    prompt.write(str(tokenizer.bos_token))
    prompt.tokenise()
    prompt.write(f"{VICUNA_SYSTEM} ")
    for speaker, text in _checked(conversation):
        if speaker == "human":
            prompt.write("USER: ")
            prompt.ask(f"{text} ASSISTANT:")
        else:
            prompt.answer(f" {text}{tokenizer.eos_token}")
    prompt.tokenise()
    return prompt.ids, prompt.labels


def legacy(
    conversation: Sequence[tuple[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    table: SignalTable,
    modality: str | None = None,
) -> tuple[list[int], list[int]]:
    """Ids and labels of the prompt of NExT-GPT's first release; ``modality`` comes in before the first words.

    Each part is tokenised apart. The tokenizer has ``<Img>`` and ``</Img>``, which stand around media of every kind.
    """
    prompt = _Prompt(tokenizer, table)
    prompt.write(str(tokenizer.bos_token))
    prompt.tokenise()
    for number, (speaker, text) in enumerate(_checked(conversation)):
        if speaker == "human":
            given = modality if number == 0 else None
            prompt.write("### Human: " + ("<Img>" if given else ""))
            prompt.tokenise()
            if given:
                prompt.medium(given)
            prompt.write(("</Img> " if given else "") + f"{text}\n### Assistant: ")
        else:
            prompt.answer(f"{text}\n###")
        prompt.tokenise()
    return prompt.ids, prompt.labels


def _checked(conversation: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    for number, (speaker, _) in enumerate(conversation):
        if speaker != ("human", "gpt")[number % 2]:
            raise ValueError(f"turn {number + 1} is by {speaker!r}: expected human and gpt in turns, human first")
    return conversation
