"""Training of the networks: simulated samples, the training itself, and its evaluation."""
