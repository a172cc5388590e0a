"""The thesis's tables and figures, each as an experiment that `tools/reproduce.py` lists, runs and reports."""
