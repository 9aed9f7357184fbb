"""The scan worker: the middlewares' stages, run apart from everything else."""
