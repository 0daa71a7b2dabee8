"""``/v1/embeddings``: texts, and media beside them in the same space."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
import torch
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from demo.api.content import MAX_MEDIA, check_size, read_part
from demo.api.errors import ApiError
from demo.api.parameters import ApiRequest
from demo.api.service import CurrentService, CurrentSession
from nextgpt_lite import AnyToAny

router = APIRouter()
#: The most inputs of a request.
MAX_INPUTS = 256


class EmbeddingRequest(ApiRequest):
    """OpenAI's request. An input may also be a content part of a chat: image_url, input_audio, video_url, file."""

    route = "embeddings"
    model: str
    input: str | list[str | dict[str, Any]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


@router.post("/v1/embeddings")
async def embed(body: EmbeddingRequest, session: CurrentSession, service: CurrentService) -> dict[str, Any]:
    service.check_model(body.model)
    if body.dimensions is not None:
        raise ApiError(400, "dimensions cannot be chosen: embeddings have the width of the model's encoder")
    inputs = [body.input] if isinstance(body.input, str) else body.input
    if not 1 <= len(inputs) <= MAX_INPUTS or sum(isinstance(each, dict) for each in inputs) > MAX_MEDIA:
        raise ApiError(400, f"give 1 to {MAX_INPUTS} inputs, of which at most {MAX_MEDIA} media")
    check_size(inputs)
    parts = [
        {"type": "text", "text": each} if isinstance(each, str) else await read_part(each, service, session)
        for each in inputs
    ]
    future = service.engine.read(lambda model: embeddings(model, parts))
    vectors = await run_in_threadpool(future.result)  # (N, E)
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector, body.encoding_format or "float")}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": service.name, "usage": {"prompt_tokens": 0, "total_tokens": 0}}


@torch.no_grad()
def embeddings(model: AnyToAny, parts: list[dict[str, Any]]) -> np.ndarray:
    """Unit vectors (N, E), float32, of text parts and media parts; the visual cache is left out.

    ApiError for a model whose encoder embeds no text or no such media.
    """
    encoder, vectors = model.encoder, []
    for part in parts:
        if not hasattr(encoder, "embed_text"):
            raise ApiError(400, "the encoder of this model gives no embeddings of one vector")
        if part["type"] == "text":
            vectors.append(encoder.embed_text([part["text"]])[0])
            continue
        try:
            tensor = encoder.preprocess(part["type"], np.asarray(part["array"]), part.get("rate"))
        except ValueError as error:
            raise ApiError(400, f"the {part['type']} cannot be embedded: {error}") from None
        vectors.append(encoder.embed(part["type"], tensor[None].to(model.device))[0])
    return torch.stack(vectors).float().cpu().numpy()


def _written(vector: np.ndarray, form: str) -> list[float] | str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
