"""Benchmarks: one file each, with ``run() -> dict`` of figures, nested as they read best."""

#: Name -> (module with ``run``, what it measures).
BENCHMARKS = {
    "s2": ("nextgpt_lite.bench.s2", "shifted sparse attention against dense attention, forward and backward"),
    "adapters": ("nextgpt_lite.bench.adapters", "decoding with all gated prompts active against the plain model"),
    "encode": ("nextgpt_lite.bench.encode", "ImageBind at full size, bf16 weights against fp32"),
    "embed": (
        "train.embeddings.bench",
        "stages 1 and 2 from precomputed embeddings against from files: samples a second",
    ),
    "cache": ("nextgpt_lite.bench.cache", "the visual cache, exact and compressed: recall, time, bytes"),
    "text": ("nextgpt_lite.bench.text", "generating text: tokens a second beside transformers, a second turn"),
    "start": ("nextgpt_lite.bench.start", "a cold start to the end of a first reply, quick core against whole one"),
    "serve": ("demo.commands.bench", "the engine: tokens a second alone and in a batch, first token, cancelling"),
}
