"""Makes a task pack of an ordinary repository: a command that trains and prints a number."""
