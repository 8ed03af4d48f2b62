"""Lineages in and out: released runs, this project's own export, tables, Git repositories."""
