"""What a classifier's features know about correspondence (thesis, chapter 2): features, SIFT, their uses."""
