"""Many runs: planning, executors, tuning, ablation, the live view."""
