"""Sentences of errors in the page's language: what is wrong comes in English, a table has the other languages'."""

import re

import yaml

from demo.texts import read_asset, translate

_TABLE = [(re.compile(each["says"], re.DOTALL), each) for each in yaml.safe_load(read_asset("errors.yaml"))]


def sentence(language: str, error: Exception | str) -> str:
    """What an error says, in ``language``. One that no row of errors.yaml knows is, but in English, a general one."""
    said = str(error)
    if language == "en":
        return said
    for pattern, row in _TABLE:
        if found := pattern.search(said):
            return row[language].format(**found.groupdict())
    return translate(language, "not_accepted")
