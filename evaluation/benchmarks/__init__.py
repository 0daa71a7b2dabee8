"""Suites of the field's own metrics, on published datasets that were imported, or on Toybox."""
