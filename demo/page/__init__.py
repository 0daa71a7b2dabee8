"""The web page: :class:`demo.page.app.Page` puts its parts together."""
