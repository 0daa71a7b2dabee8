"""The formats of published weights that can be imported: which module reads each, and what its files are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """Where a format is read, and what its files are."""

    module: str
    function: str
    files: str


FORMATS = {
    "llama_adapter_v1": Format("llama_adapter", "build_v1", "adapter_query and gates (LLaMA-Adapter)"),
    "llama_adapter_v2": Format("llama_adapter", "build_v2", "BIAS-7B.pth, LORA-BIAS-7B.pth (LLaMA-Adapter V2)"),
    "llama_adapter_v2_chat": Format("llama_adapter", "build_chat", "shards of the 65B chat model (LLaMA-Adapter V2)"),
    "meta_llama": Format("meta_checkpoint", "build", "consolidated.*.pth and params.json (Llama, as Meta has it)"),
    "longlora": Format("longlora", "build", "adapter_model, adapter_config.json, trainable_params (LongLoRA)"),
    "imagebind_llm": Format("imagebind_llm", "build_llm", "7B.pth, with knn.index or without (ImageBind-LLM)"),
    "nextgpt_legacy": Format("nextgpt", "build_legacy", "pytorch_model.pt of the first release (NExT-GPT)"),
    "nextgpt": Format("nextgpt", "build_newest", "mm_*_projector.bin, non_lora_trainables.bin, LoRA (NExT-GPT)"),
    "llava_projector": Format("llava", "build_projector", "mm_projector.bin (LLaVA)"),
    "llava_lora": Format("llava", "build_lora", "adapter_model, adapter_config.json, non_lora_trainables.bin (LLaVA)"),
    "imagebind_huge": Format("imagebind_llm", "build_encoder", "imagebind_huge.pth, with Point-BERT or without"),
}
