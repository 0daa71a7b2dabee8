"""The OpenAI-compatible server. :func:`demo.api.application.build` puts its parts together."""
