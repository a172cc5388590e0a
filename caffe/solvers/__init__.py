"""Training: solvers, their nets, update rules, learning rates, snapshots, signals and warnings."""
