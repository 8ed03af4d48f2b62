"""What the store reads: pages of trials, groups of failures, counters, recipes."""
