"""Where trials run: leases on GPUs and cores."""
