"""Runs of training and evaluation in the browser, read from the files in their folders: :mod:`demo.runs.pages`."""
