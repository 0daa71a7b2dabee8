"""The own engine says what transformers' forward pass says: every form of the core, compiled and not, rows that come
and go, weights that change."""

import pytest
import torch
from transformers import AutoConfig

from nextgpt_lite import AnyToAny
from nextgpt_lite.config import CoreConfig
from nextgpt_lite.core_checkpoint import add_lora
from nextgpt_lite.decoding import Decoding, Prepared, kernel, llama
from nextgpt_lite.generate import Sampling, TextBatch, open_engine
from nextgpt_lite.long_context.merge import merge_lora
from nextgpt_lite.model import AnyToAnyCore
from tests.nextgpt_lite import test_paper_forms as papers
from tests.nextgpt_lite.test_model import BASE, SIZES
from tests.nextgpt_lite.test_paper_forms import FORMS, base

__all__ = ["base"]  # the fixture
BY_TRANSFORMERS = Decoding("transformers")
LORA = {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]}
#: Language models that compute as Llama does but for something small, and positions that are scaled.
SIBLINGS = {
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "mistral with a window beyond its positions": {"model_type": "mistral", "sliding_window": 4096},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "llama with biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "tied embeddings": {"model_type": "llama", "tie_word_embeddings": True},
    "linear": {"model_type": "llama", "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
    "yarn": {
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32,
        },
    },
    "llama3": {
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        },
    },
}  # fmt: skip
#: Those that go through transformers, and why.
OTHERS = {
    "positions by the length at hand": {
        "model_type": "llama", "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
    },
    "a window of attention": {"model_type": "mistral", "sliding_window": 8},
    "another activation": {"model_type": "llama", "hidden_act": "gelu"},
    "another architecture": {"model_type": "gemma", "head_dim": 8},
}  # fmt: skip


def check_same(core: AnyToAnyCore, prompts: list[Prepared]) -> None:
    """With the kernel and without it, replies are those of transformers' forward pass."""
    assert isinstance(open_engine(core, Decoding()), llama.LlamaEngine)
    expected = run(core, prompts, BY_TRANSFORMERS)
    assert_same(run(core, prompts), expected)
    weights = llama.shared_weights(core)
    assert (weights.kernel is None) == (kernel.load_library() is None)
    weights.kernel = None
    assert_same(run(core, prompts), expected)
    assert llama.shared_weights(core) is weights


def make_core(settings: dict, **options) -> AnyToAnyCore:
    torch.manual_seed(4)
    text = AutoConfig.for_model(**{"num_key_value_heads": 2, **SIZES, **settings})
    core = AnyToAnyCore(
        CoreConfig(
            text_config=text,
            first_added_token=BASE,
            embedding_width=16,
            signal_tokens={"image": 2},
            **{"prompts": {"static_tokens": 3, "static_layers": 1, "media_tokens": 0}} | options,
        )
    )
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return core.eval()


def conversations(core: AnyToAnyCore) -> list[Prepared]:
    """Prompts of several lengths, with two media, none and one."""
    torch.manual_seed(3)
    each = 1 if core.config.visual else core.table.input_tokens
    made = []
    for length, count in ((13, 2), (6, 0), (9, 1)):
        ids = torch.randint(0, BASE, (length,)).tolist()
        for medium in range(count):
            ids[1 + 5 * medium : 1 + 5 * medium + each] = [core.table.placeholders["image"]] * each
        shape = (3, 16) if core.config.reads_patches else (16,)
        made.append(Prepared(ids, [torch.randn(shape) for _ in range(count)]))
    return made


def words_alone(core: AnyToAnyCore) -> list[Prepared]:
    return [Prepared(prompt.ids, []) for prompt in conversations(core)]


def run(core: AnyToAnyCore, prompts: list[Prepared], decoding: Decoding | None = None) -> list[tuple]:
    """Ids, states and conditions of replies to prompts that come one after another and end at different lengths."""
    batch, rows = TextBatch(core, -1, decoding), []
    for prompt, length in zip(prompts, (9, 3, 12), strict=True):
        asked = "image" if "image" in core.output_projections else None
        rows += batch.add([(prompt, Sampling(length, required_modality=asked))])
        batch.step()
    while batch.rows:
        batch.step()
    return [(row.ids, torch.stack(row.states), [c for _, c in row.conditions if c is not None]) for row in rows]


def assert_same(ours: list[tuple], theirs: list[tuple]) -> None:
    for (ids, states, conditions), (other_ids, other_states, other_conditions) in zip(ours, theirs, strict=True):
        assert ids == other_ids
        close = {"atol": 1e-5 * float(other_states.abs().max()), "rtol": 1e-5}
        torch.testing.assert_close(states, other_states, **close)
        for condition, other in zip(conditions, other_conditions, strict=True):
            torch.testing.assert_close(condition, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_gated_prompts(form, base):
    core = papers.make(form, base)
    check_same(core, conversations(core))


@pytest.mark.parametrize("name", SIBLINGS)
def test_siblings_and_scaled_positions(name):
    core = make_core(SIBLINGS[name])
    check_same(core, words_alone(core))


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_go_through_transformers(name):
    core = make_core(OTHERS[name])
    assert not isinstance(open_engine(core, Decoding()), llama.LlamaEngine)


def test_a_model_in_training_goes_through_transformers():
    core = make_core({"model_type": "llama"})
    assert isinstance(open_engine(core, Decoding()), llama.LlamaEngine)
    assert not isinstance(open_engine(core.train(), Decoding()), llama.LlamaEngine)
    assert not isinstance(open_engine(core.eval().half(), Decoding()), llama.LlamaEngine)


@torch.no_grad()
def test_weights_that_have_changed_are_read_anew():
    core = make_core({"model_type": "llama"})
    prompts = words_alone(core)
    batch = TextBatch(core, -1)
    before = batch.add([(prompts[0], Sampling(1))])[0].ids
    assert before == TextBatch(core, -1, BY_TRANSFORMERS).add([(prompts[0], Sampling(1))])[0].ids
    core.language_model.model.layers[0].mlp.up_proj.weight.mul_(-3)
    core.gated_prompts.static_gate.add_(2)
    check_same(core, prompts)
    add_lora(core, LORA)
    for name, parameter in core.named_parameters():
        if ".lora_" in name:
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    core.eval()
    check_same(core, prompts)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_stored_in_half_the_bytes_nothing_is_lost(dtype, monkeypatch):
    """Also where LoRA stays apart: layers too large to be copied."""
    monkeypatch.setattr(llama, "fused_layers", lambda layers: layers)
    core = make_core({"model_type": "llama"})
    add_lora(core, LORA)
    for name, parameter in core.named_parameters():
        parameter.copy_((0.3 * torch.randn(parameter.shape)).to(dtype if ".lora_" not in name else torch.float32))
    prompts = words_alone(core.eval())
    check_same(core, prompts)


@torch.no_grad()
def test_int8_is_the_model_whose_matrices_were_rounded():
    """LoRA is merged before; what is not a matrix of a layer or the output layer stays as it is."""
    if kernel.load_library() is None:
        pytest.skip("no C compiler")
    core = make_core({"model_type": "llama"}, prompts={"media_tokens": 0})
    add_lora(core, LORA)
    for name, parameter in core.named_parameters():
        if ".lora_" in name:
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    prompt = words_alone(core.eval())[0]
    engine = open_engine(core, Decoding(weights="int8"))
    engine.join([Prepared(prompt.ids[:1], [])])
    found = torch.cat([engine.step([token])[1] for token in prompt.ids[1:]])
    merge_lora(core.language_model)
    head = core.get_output_embeddings().weight
    linears = [each for each in core.language_model.model.modules() if isinstance(each, torch.nn.Linear)]
    for weight in (head, core.added_output, *(linear.weight for linear in linears)):
        rounded, scale = kernel.quantised(weight)
        assert ((rounded * scale[:, None] - weight).abs() <= scale[:, None] / 1.99).all()
    engine = open_engine(core, Decoding())
    engine.join([Prepared(prompt.ids[:1], [])])  # read with exact weights in both
    for weight in (head, core.added_output, *(linear.weight for linear in linears)):
        rounded, scale = kernel.quantised(weight)
        weight.copy_(rounded * scale[:, None])
    engine.weights = llama.shared_weights(core)
    expected = torch.cat([engine.step([token])[1] for token in prompt.ids[1:]])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_reply_that_outgrows_its_buffer(monkeypatch):
    monkeypatch.setattr("nextgpt_lite.decoding.contexts.AHEAD", 2)
    monkeypatch.setattr(llama, "CHUNK", 4)
    core = make_core({"model_type": "llama"})
    check_same(core, words_alone(core))


def test_more_rows_than_the_kernel_takes():
    core = make_core({"model_type": "llama"})
    prompts = [Prepared([token, 3, 5], []) for token in range(llama.KERNEL_ROWS + 3)]
    replies = []
    for decoding in (None, BY_TRANSFORMERS):
        batch = TextBatch(core, -1, decoding)
        rows = batch.add([(prompt, Sampling(4 + place)) for place, prompt in enumerate(prompts)])
        while batch.rows:
            batch.step()
        replies.append([row.ids for row in rows])
    assert replies[0] == replies[1]


def test_nano_says_the_same():
    model = AnyToAny.from_pretrained("nano", device="cpu")
    talk = [{"role": "user", "content": "Draw a small red bell, then say something of a yellow car on a meadow."}]
    prompts = [model.prepare(talk), *(Prepared(ids, []) for ids in ([5, 9, 21], list(range(40, 90))))]
    check_same(model.core, prompts)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="unknown engine 'fast': expected one of own, transformers"):
        Decoding("fast")
    with pytest.raises(ValueError, match="unknown weights 'int3': expected one of exact, int8"):
        Decoding(weights="int3")


def test_without_a_compiler_it_goes_on(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "false")  # a program that only fails
    assert kernel.load_library.__wrapped__() is None
    assert not list(tmp_path.rglob("*.so"))


def test_the_kernel_is_compiled_once(monkeypatch, tmp_path):
    if kernel.load_library() is None:
        pytest.skip("no C compiler")
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path))
    assert kernel.load_library.__wrapped__() is not None
    [made] = tmp_path.rglob("*.so")
    stamp = made.stat().st_mtime_ns
    assert kernel.load_library.__wrapped__() is not None
    assert made.stat().st_mtime_ns == stamp
