"""Processes of this machine, in namespaces where the system allows them."""
