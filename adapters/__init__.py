"""What stands between encoders, language model and decoders: small trained parts, knowing no other room."""

from adapters.bias_tuning import TunedLinear
from adapters.bind_network import BindNetwork
from adapters.gated_prompts import GatedPrompts, PromptBatch
from adapters.input_projection import LinearInput, MlpInput
from adapters.mixing import image_embedding, mix
from adapters.output_projection import LinearProjection, TransformerProjection
from adapters.visual_cache import VisualCache
from adapters.visual_prompts import VisualPrompts

#: Input projections by the name that a configuration gives.
INPUT_PROJECTIONS = {"linear": LinearInput, "mlp": MlpInput}
#: Output projections by the name that a configuration gives.
OUTPUT_PROJECTIONS = {"transformer": TransformerProjection, "linear": LinearProjection}

__all__ = [
    "INPUT_PROJECTIONS",
    "OUTPUT_PROJECTIONS",
    "BindNetwork",
    "GatedPrompts",
    "LinearInput",
    "LinearProjection",
    "MlpInput",
    "PromptBatch",
    "TransformerProjection",
    "TunedLinear",
    "VisualCache",
    "VisualPrompts",
    "image_embedding",
    "mix",
]
