"""Where the phases of a campaign run: on this machine, or on the nodes of a cluster."""
