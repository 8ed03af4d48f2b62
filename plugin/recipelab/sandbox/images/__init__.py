"""Images of sandboxes: what they are built from, and whether they are up to date."""
