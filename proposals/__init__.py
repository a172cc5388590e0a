"""Regions after the net: overlap with objects, recall, proposals, a baseline, pictures (thesis 4.3.4 to 4.5)."""
