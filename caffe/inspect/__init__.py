"""Looking into nets and runs: geometry, lint, timing, training logs."""
