"""What people and programs are shown: tables, transcripts, patches, JSON."""
