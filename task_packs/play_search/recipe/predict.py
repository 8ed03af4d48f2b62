"""Answers each query with the numbers of up to ten passages, best first, one line a query."""

import json
import zlib
from pathlib import Path

from rank import Index

learned = json.loads(zlib.decompress(Path("artifact/table").read_bytes()))
passages = Path("inputs/passages.txt").read_text().splitlines()
queries = Path("inputs/queries.txt").read_text().splitlines()
index = Index(passages, learned)
# Passages are numbered by their lines, from 1.
answers = [" ".join(str(place + 1) for place in index.best(query)) for query in queries]
Path("out/predictions.txt").write_text("".join(f"{answer}\n" for answer in answers))
