"""The command line: it asks, it never decides."""
