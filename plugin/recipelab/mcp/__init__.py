"""A campaign as a server of the Model Context Protocol: a coding agent asks, and proposes."""
