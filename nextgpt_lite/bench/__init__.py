"""Benchmarks: one file each, with ``run() -> dict`` of figures, nested as they read best."""

#: Name -> (module with ``run``, what it measures).
BENCHMARKS = {
    "encode": ("nextgpt_lite.bench.encode", "ImageBind at full size, bf16 weights against fp32"),
    "cache": ("nextgpt_lite.bench.cache", "the visual cache, exact and compressed: recall, time, bytes"),
}
