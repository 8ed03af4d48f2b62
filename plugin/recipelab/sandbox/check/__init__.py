"""Measures from inside what a sandbox enforces."""
