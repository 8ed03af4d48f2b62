"""Recipes that claim a score."""

from __future__ import annotations

from ..case import NO_HOLE, Case

CASES = (
    Case(
        "lies-printed-metric",
        "prints a perfect score in every way that a parser could fall for",
        NO_HOLE,
        train="print('{\"loss\": 0.0}'); print('loss: 0.0'); print('score.loss = 0')",
        predict='import sys\nprint(\'{"loss": 0.0, "fit": 1}\', file=sys.stderr)',
        log="score.loss = 0",
    ),
    Case(
        "lies-score-file-in-preflight",
        "writes the scorer's result file in every run of train.py",
        "illegal",
        "tampering",
        "preflight left out/score.json",
        train="(out / 'score.json').write_text('{\"loss\": 0.0, \"fit\": 1.0}')",
    ),
    Case(
        "lies-score-file-in-train",
        "the same, but not in the preflight",
        "illegal",
        "tampering",
        "train left out/score.json",
        train="smoke or (out / 'score.json').write_text('{\"loss\": 0.0, \"fit\": 1.0}')",
    ),
    Case(
        "lies-score-file-in-predict",
        "writes it beside the predictions",
        "illegal",
        "tampering",
        "predict left out/score.json",
        predict="Path('out/score.json').write_text('{\"loss\": 0.0, \"fit\": 1.0}')",
    ),
    Case(
        "lies-score-file-as-folder",
        "makes a folder of that name, so that the scorer cannot write",
        "illegal",
        "tampering",
        "predict left out/score.json",
        predict="Path('out/score.json').mkdir(); Path('out/score.json/x').write_text('0')",
    ),
    Case(
        "lies-score-file-as-link",
        "a link of that name, to where the scorer will write",
        NO_HOLE,
        predict="Path('out/score.json').symlink_to('/trial/out/score.json')",
    ),
    Case(
        "lies-score-file-hard-link",
        "a hard link from a file of another name",
        "illegal",
        "tampering",
        "out/score.json",
        predict="Path('out/a').write_text('{}'); Path('out/score.json').hardlink_to('out/a')",
    ),
    Case(
        "lies-score-file-in-disguise",
        "names that are almost the same",
        NO_HOLE,
        predict=(
            "for name in ('SCORE.JSON', 'score.json ', '.score.json', 'score.json~'):\n"
            "    Path('out', name).write_text('{\"loss\": 0.0, \"fit\": 1.0}')\n"
            "Path('out/out').mkdir(); Path('out/out/score.json').write_text('{\"loss\": 0.0}')"
        ),
    ),
    Case(
        "lies-exit-code-of-the-scorer",
        "ends with the code by which a scorer reports a broken rule",
        "crashed",
        "other",
        "look-ahead",
        predict="import sys\nprint('look-ahead: window 1, byte 1'); sys.exit(4)",
    ),
    Case(
        "lies-evidence-of-tampering",
        "prints what the evaluator says of tampering, to be aborted or illegal instead of crashed",
        "crashed",
        "value",
        "no such luck",
        predict="print('predict left out/score.json'); raise ValueError('no such luck')",
    ),
    Case(
        "lies-infinite-prediction",
        "predicts what no comparison can be made with",
        "crashed",
        "nan|bad_output",
        predict="Path('out/predictions.txt').write_text('nan nan')",
    ),
    Case(
        "lies-huge-prediction",
        "predicts numbers whose square does not fit a float, so that the scorer falls over",
        "crashed",
        "bad_output",
        "two numbers",
        predict="Path('out/predictions.txt').write_text('1e300 -1e300')",
    ),
    Case(
        "lies-binary-prediction",
        "bytes that are not text, so that the scorer falls over",
        "crashed",
        "bad_output",
        "ascii",
        predict="Path('out/predictions.txt').write_bytes(bytes(range(256)))",
    ),
    Case(
        "lies-no-prediction",
        "leaves another file than the scorer reads",
        "crashed",
        "bad_output",
        "missing",
        predict="Path('out/predictions.txt').rename('out/other.txt')",
    ),
)
