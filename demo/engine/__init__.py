"""The engine: one model, answered from a bounded queue. :class:`demo.engine.engine.Engine` is its interface."""
