"""Where the runs of a sweep are executed: local processes, Slurm, Ray."""
