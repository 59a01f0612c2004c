"""For trying the algorithm out: preference worlds, simulated runs, other methods, the reference solver."""
