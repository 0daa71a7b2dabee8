"""What stands between encoders, language model and decoders: small trained parts, knowing no other room."""

from adapters.gated_prompts import GatedPrompts, PromptBatch
from adapters.imagebind_llm import BindNetwork, image_embedding, mix
from adapters.input_projection import GroupProjection, LinearInput, MlpInput, PatchLinear, PatchMlp
from adapters.llama_adapter_v2 import TunedLinear, VisualPrompts
from adapters.output_projection import LinearProjection, QFormerProjection, TransformerProjection
from adapters.reading_projection import ReadingProjection
from adapters.visual_cache import VisualCache

#: Input projections of pooled embeddings by the name that a configuration gives.
INPUT_PROJECTIONS = {"linear": LinearInput, "mlp": MlpInput}
#: The same of patch tokens: NExT-GPT's three, LLaVA's name for the second.
PATCH_PROJECTIONS = {"linear": PatchLinear, "mlp": PatchMlp, "mlp2x_gelu": PatchMlp, "group": GroupProjection}
#: Output projections by the name that a configuration gives.
OUTPUT_PROJECTIONS = {
    "transformer": TransformerProjection,
    "qformer": QFormerProjection,
    "linear": LinearProjection,
    "reading": ReadingProjection,
}
