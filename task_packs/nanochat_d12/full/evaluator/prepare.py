"""Unpacks the bundle of CORE: items for predict, and what the score is made of for the scorer."""

import sys
import zipfile
from pathlib import Path

BUNDLE = "eval_bundle"
SCORED = ("core.yaml", "eval_meta_data.csv")

items, plan = Path("out/rounds/core"), Path("out/plan")
plan.mkdir()
items.mkdir(parents=True)
with zipfile.ZipFile("hidden/eval_bundle.zip") as bundle:
    names = [name for name in bundle.namelist() if name.startswith(f"{BUNDLE}/")]
    bundle.extractall(items, names)
    for name in SCORED:
        (plan / name).write_bytes(bundle.read(f"{BUNDLE}/{name}"))
if not (items / BUNDLE / "eval_data").is_dir():
    sys.exit("the bundle holds no eval_data")
