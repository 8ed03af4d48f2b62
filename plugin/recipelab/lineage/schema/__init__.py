"""Opening a lineage: the databases it can be in, its tables, and upgrades of old files."""
