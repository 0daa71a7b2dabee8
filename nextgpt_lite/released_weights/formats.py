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
}
