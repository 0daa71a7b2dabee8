"""Text, greedy, one row: tokens a second of CPU time, the own engine beside the core's forward pass and transformers.

    nextgpt-lite bench text

All run on one thread, in turns, so that whatever else runs on the machine slows all of them: the ratios count. "nano"
is the embedded model; "small" has the shape of SmolLM2-135M and its weights where they are (nextgpt-lite models
--fetch), else random ones. Plain transformers runs the same language model with LoRA merged and no prompts.
"""

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers
from torch.nn import functional
from transformers import LlamaConfig, PreTrainedModel

from data.parts import PartMissing, part_folder
from nextgpt_lite.any_to_any import AnyToAny
from nextgpt_lite.bench.measure import threads
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.decoding import Decoding, PrefixCache, Prepared
from nextgpt_lite.decoding.kernel import load_library
from nextgpt_lite.generate import Sampling, TextBatch, generate
from nextgpt_lite.language_models import load_language_model, read_config
from nextgpt_lite.long_context.merge import merge_lora
from nextgpt_lite.model import AnyToAnyCore

PROMPT, TOKENS, SMALL_TOKENS, ROUNDS = 32, 128, 96, 5
#: Tokens of the conversation whose second turn is timed, of what is new in that turn, and of the text that both kinds
#: of weights read.
CONVERSATION, NEW, SAMPLED = 4000, 32, 256
SMALL = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": True,
}  # fmt: skip
#: What the engine must be worth, as ratios of one run.
EXPECTED = {"nano": {"to_forward_pass": 8.0, "to_transformers": 5.0}, "small": {"int8_to_forward_pass": 4.0}}
EXPECTED_SECOND_TURN, EXPECTED_PERPLEXITY = 20.0, 1.01


def run(conversation: int = CONVERSATION, tokens: int = TOKENS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Tokens a second of each engine, their ratios and spread; seconds to the first token of a second turn."""
    with threads(1):
        nano = tokens_a_second(AnyToAny.from_pretrained("nano", device="cpu").core, tokens, rounds)
        small = small_core()
        of_small = tokens_a_second(small, min(tokens, SMALL_TOKENS), rounds, ("exact", "int8"))
        of_small["int8_perplexity_ratio"] = perplexity_ratio(small, min(SAMPLED, 2 * tokens))
        turns = second_turn(small, conversation)
    return {
        "transformers": transformers.__version__,
        "compiled_step": load_library() is not None,
        "nano": nano,
        "small": of_small | {"expected_int8_perplexity_ratio": EXPECTED_PERPLEXITY},
        "second_turn": turns | {"expected_ratio": EXPECTED_SECOND_TURN},
        "expected": EXPECTED,
    }


def small_core(config: LlamaConfig | None = None) -> AnyToAnyCore:
    """A core around SmolLM2-135M, or a model of its shape (or that of ``config``) with random weights in bfloat16."""
    language_model: PreTrainedModel | None = None
    text: Any = config or LlamaConfig(**SMALL)
    if config is None:
        try:
            text, language_model = read_config(part_folder("smollm2")), load_language_model(part_folder("smollm2"))
        except PartMissing:
            torch.manual_seed(0)
    settings = {"embedding_width": 16, "prompts": {"media_tokens": 0}, "conditions": {}}
    core = AnyToAnyCore(CoreConfig(text_config=text, first_added_token=text.vocab_size, **settings), language_model)
    return core.bfloat16().float().eval()


def tokens_a_second(
    core: AnyToAnyCore, tokens: int, rounds: int, weights: tuple[str, ...] = ("exact",)
) -> dict[str, float]:
    """Of the own engine with each kind of weights, of the core's forward pass, and of transformers' ``generate``."""
    plain, ids = merged_copy(core), list(range(3, 3 + PROMPT))
    row, length = torch.tensor([ids]), {"max_new_tokens": tokens, "min_new_tokens": tokens}

    def reply(decoding: Decoding) -> Callable[[], object]:
        return lambda: generate(core, -1, [(Prepared(ids, []), Sampling(tokens))], decoding=decoding)

    works: dict[str, Callable[[], object]] = {kind: reply(Decoding(weights=kind)) for kind in weights}
    works["forward_pass"] = reply(Decoding("transformers"))
    works["transformers"] = lambda: plain.generate(row, do_sample=False, pad_token_id=0, **length)
    seconds = medians(works, rounds)
    figures = {name: tokens / statistics.median(times) for name, times in seconds.items()}
    for kind in weights:
        for other in ("forward_pass", "transformers"):
            ratios = [b / a for a, b in zip(seconds[kind], seconds[other], strict=True)]
            figures[f"{kind}_to_{other}"] = statistics.median(ratios)
            figures[f"{kind}_to_{other}_spread"] = max(ratios) - min(ratios)
    return figures


def medians(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of CPU time of each piece of work, in turns, after a round that is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = time.thread_time()
            work()
            if number:
                seconds[name].append(time.thread_time() - started)
    return seconds


def merged_copy(core: AnyToAnyCore) -> Any:
    """The core's language model with LoRA merged and transformers' own attention."""
    model = copy.deepcopy(core.language_model)
    merge_lora(model)
    model.set_attn_implementation("sdpa")
    return model


@torch.no_grad()
def perplexity_ratio(core: AnyToAnyCore, length: int) -> float:
    """Perplexity with int8 weights over that with exact ones, of a text that the exact model has sampled."""
    [row] = generate(core, -1, [(Prepared(list(range(3, 3 + PROMPT)), []), Sampling(length, 1.0))])
    losses = {kind: mean_loss(core, row.prepared.ids, row.ids, Decoding(weights=kind)) for kind in ("exact", "int8")}
    return float((losses["int8"] - losses["exact"]).exp())


def mean_loss(core: AnyToAnyCore, prompt: list[int], ids: list[int], decoding: Decoding) -> torch.Tensor:
    """Cross-entropy of ``ids`` behind a prompt, read step by step."""
    engine = TextBatch(core, -1, decoding).engine
    logits = [engine.join([Prepared(prompt, [])])]
    logits += [engine.step([token])[1] for token in ids[:-1]]
    return functional.cross_entropy(torch.cat(logits), torch.tensor(ids))


def second_turn(core: AnyToAnyCore, length: int) -> dict[str, float]:
    """CPU seconds to the first token of a second turn, behind a conversation of ``length`` tokens, and read again."""
    torch.manual_seed(1)
    ids = torch.randint(3, core.table.first, (length,)).tolist()
    first, kept = Prepared(ids[: length - NEW], []), Decoding(prefixes=PrefixCache())
    [row] = generate(core, -1, [(first, Sampling(2))], decoding=kept)
    second = Prepared([*first.ids, *row.ids, *ids[length - NEW :]], [])
    seconds = {}
    for name, decoding in (("kept", kept), ("read_again", Decoding())):
        started = time.thread_time()
        generate(core, -1, [(second, Sampling(1))], decoding=decoding)
        seconds[name] = time.thread_time() - started
    return {"tokens": len(second.ids), **seconds, "ratio": seconds["read_again"] / seconds["kept"]}
