"""Numbers from run records: comparisons, statistics, power, simulation. No pictures."""
