"""How a run is made: batches, training, evaluation, scores, and the suites that name runs."""
