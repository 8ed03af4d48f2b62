"""The page of a campaign: what it shows as data, as one file, and live from a server."""
