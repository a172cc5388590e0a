"""Training, scoring, segmenting and checking data: scripts over the packages, from a checkout."""
