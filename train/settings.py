"""Typed settings of recipes and tasks: :mod:`data.strict`, whose errors are a recipe's here."""

from data.strict import SettingsError as RecipeError
from data.strict import nearest, read_settings, setting, setting_lines

__all__ = ["RecipeError", "nearest", "read_settings", "setting", "setting_lines"]
