"""One hardened container a phase."""
