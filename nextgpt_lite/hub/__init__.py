"""The composed model as Transformers knows models: Auto classes, a processor, ``pipeline("any-to-any")``, the hub.

    import nextgpt_lite.hub
    from transformers import pipeline

    nextgpt_lite.hub.AnyToAnyForMultimodalLM.from_pretrained("nano").save_pretrained("nano_hub")
    pipe = pipeline("any-to-any", model="nano_hub")

Importing this package registers its classes. No code of a folder is run.
"""

from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES

from nextgpt_lite.hub.modeling import AnyToAnyConfig, AnyToAnyForMultimodalLM
from nextgpt_lite.hub.processing import AnyToAnyProcessor

__all__ = ["AnyToAnyConfig", "AnyToAnyForMultimodalLM", "AnyToAnyProcessor"]

AutoConfig.register(AnyToAnyConfig.model_type, AnyToAnyConfig, exist_ok=True)
AutoModel.register(AnyToAnyConfig, AnyToAnyForMultimodalLM, exist_ok=True)
AutoModelForMultimodalLM.register(AnyToAnyConfig, AnyToAnyForMultimodalLM, exist_ok=True)
AutoProcessor.register(AnyToAnyConfig, AnyToAnyProcessor, exist_ok=True)
# The pipeline looks its models up by name, where registered ones do not stand.
_names: Any = MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
_names[AnyToAnyConfig.model_type] = AnyToAnyForMultimodalLM.__name__
