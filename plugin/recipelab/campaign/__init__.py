"""A campaign as one object, and the check of a task pack."""
