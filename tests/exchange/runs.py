"""Writes small released runs: the files that the importer reads, with texts of our own."""

from __future__ import annotations

import json
from pathlib import Path


def _columns(figures: str) -> list[str]:
    front = "exp_id timestamp specialist parent_exp baseline_exp domain hypothesis expected_delta"
    return f"{front} status {figures} job_name snapshot_path notes".split()


AIRBENCH = _columns("train_s accuracy acc_std n_seeds delta_vs_best total_s")
GOLF = _columns("val_bpb delta_vs_best artifact_bytes train_s eval_s total_s")
NANOCHAT = _columns("core_metric val_bpb delta_vs_best train_s total_s")
TREE = "exp_id parent_exp depth path specialist status {} delta_vs_best hypothesis"

Row = dict[str, str]


def row(number: int, status: str, **cells: str) -> Row:
    """The cells of a row, most of them plain."""
    return {
        "exp_id": f"{number:03}",
        "timestamp": f"2026-01-02T03:{number % 60:02}:00Z",
        "specialist": "opt",
        "parent_exp": "000" if number else "",
        "baseline_exp": "000" if number else "",
        "domain": "opt",
        "hypothesis": f"idea number {number}",
        "expected_delta": "-0.5",
        "status": status,
        "job_name": f"job-{number}",
    } | cells


def airbench() -> list[Row]:
    """A run of five trials: one kept, one near miss that it repairs, one crash."""
    fast = {"n_seeds": "10", "acc_std": "0.001"}
    return [
        row(0, "baseline", train_s="20.0"),
        row(1, "discard", train_s="20.5", total_s="20.5", accuracy="0.961", **fast),
        row(2, "disqualified", total_s="18.0", accuracy="0.959", **fast),
        row(3, "preflight_crash", notes="a guess | TypeError: no such argument 'width' (m.py:4)"),
        row(
            4,
            "keep",
            train_s="19.0",
            total_s="19.0",
            accuracy="0.96",
            delta_vs_best="-1.0",
            hypothesis="exp_002 missed the gate: warm up a little longer",
            **fast,
        ),
    ]


def line(cells: Row, header: list[str]) -> str:
    """A row as the release writes it."""
    return "\t".join(cells.get(name, "") for name in header)


def write_run(
    folder: Path,
    rows: list[Row],
    header: list[str] = AIRBENCH,
    *,
    lines: list[str] | None = None,
    tree: list[Row] | None = None,
) -> Path:
    """Writes a run; ``lines`` stands in place of the rows of results.tsv, ``tree`` of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    metric = next(n for n in ("core_metric", "train_s", "val_bpb") if n in header[9:10])
    own = lines if lines is not None else [line(cells, header) for cells in rows]
    (folder / "results.tsv").write_text("\n".join(["\t".join(header), *own]) + "\n")
    names = TREE.format(metric).split()
    shown = [cells | {"depth": "1", "path": "x"} for cells in (rows if tree is None else tree)]
    tree_lines = ["\t".join(names), *(line(cells, names) for cells in shown)]
    (folder / "tree.tsv").write_text("\n".join(tree_lines) + "\n")
    kept = [cells["exp_id"] for cells in rows if cells["status"] == "keep"]
    if kept:
        (folder / "best.json").write_text(json.dumps({"exp_id": kept[-1]}))
    return folder
