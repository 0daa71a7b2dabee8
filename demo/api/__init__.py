"""The OpenAI-compatible server; :func:`demo.api.application.build` builds its application."""
