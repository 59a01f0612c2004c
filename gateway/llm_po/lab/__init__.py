"""Tools to try out the algorithm: preference worlds, simulated runs, other methods, a reference solver."""
