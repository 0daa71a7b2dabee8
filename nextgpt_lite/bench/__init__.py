"""Benchmarks: one file each, with ``run() -> dict`` of figures, nested as they read best."""

#: Name -> (module with ``run``, what it measures).
BENCHMARKS = {
    "s2": ("nextgpt_lite.bench.s2", "shifted sparse attention against dense attention, forward and backward"),
}
