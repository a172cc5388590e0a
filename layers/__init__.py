"""Layers written in Python, for `type: "Python"`; they use pycaffe's public API alone."""
