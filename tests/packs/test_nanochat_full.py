"""nanochat_d12 at full scale: its log and table are read strictly, and CORE is computed anew."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .scripts import SHIPPED, loaded, run_script

PACK = "nanochat_d12"
EVALUATOR = SHIPPED / PACK / "full" / "evaluator"
CHOICE, SCHEMA, TEXT = "multiple_choice", "schema", "language_modeling"
TASKS = {  # shots, type, chance in percent
    "hellaswag_zeroshot": (0, CHOICE, 25.0),
    "jeopardy": (10, TEXT, 0.0),
    "bigbench_qa_wikidata": (10, TEXT, 0.0),
    "arc_easy": (10, CHOICE, 25.0),
    "arc_challenge": (10, CHOICE, 25.0),
    "copa": (0, CHOICE, 50.0),
    "commonsense_qa": (10, CHOICE, 40.3),
    "piqa": (10, CHOICE, 50.0),
    "openbook_qa": (0, CHOICE, 25.0),
    "lambada_openai": (0, TEXT, 0.0),
    "hellaswag": (10, CHOICE, 25.0),
    "winograd": (0, SCHEMA, 50.0),
    "winogrande": (0, SCHEMA, 50.0),
    "bigbench_dyck_languages": (10, TEXT, 0.0),
    "agi_eval_lsat_ar": (3, CHOICE, 25.0),
    "bigbench_cs_algorithms": (10, TEXT, 0.0),
    "bigbench_operators": (10, TEXT, 0.0),
    "bigbench_repeat_copy_logic": (10, TEXT, 0.0),
    "squad": (10, TEXT, 0.0),
    "coqa": (0, TEXT, 0.0),
    "boolq": (10, CHOICE, 62.0),
    "bigbench_language_identification": (10, CHOICE, 25.0),
}
ACCURACIES = {label: 0.3 + 0.01 * at for at, label in enumerate(TASKS)} | {"boolq": 0.481957}
PARTIAL = "Step 02000 | CORE metric: 0.9999"


core_log = loaded(PACK, "core_log")


def centered(label: str, accuracy: float) -> float:
    chance = 0.01 * TASKS[label][2]
    return (accuracy - chance) / (1 - chance)


def mean(accuracies: dict[str, float]) -> float:
    return sum(centered(*pair) for pair in accuracies.items()) / len(accuracies)


def log(accuracies: dict[str, float] = ACCURACIES) -> str:
    """What base_eval prints."""
    lines = ["Autodetected device type: cuda", "Evaluating model: base_model (step 2520)"]
    lines += ["Eval modes: core", "", "=" * 80, "CORE Evaluation", "=" * 80]
    for label, accuracy in accuracies.items():
        shots, kind, _ = TASKS[label]
        lines.append(
            f"Evaluating: {label} ({shots}-shot, type: {kind})... accuracy: {accuracy:.4f}"
            f" | centered: {centered(label, accuracy):.4f} | time: 3.21s"
        )
    end = f"CORE metric: {mean(accuracies):.4f}"
    return "\n".join([*lines, "", "Results written to: base_eval/base_model_002520.csv", end, ""])


def table(accuracies: dict[str, float] = ACCURACIES) -> str:
    """What base_eval writes."""
    lines = [f"{'Task':<35}, {'Accuracy':<10}, {'Centered':<10}"]
    for label, accuracy in accuracies.items():
        lines.append(f"{label:<35}, {accuracy:<10.6f}, {centered(label, accuracy):<10.6f}")
    return "\n".join([*lines, f"{'CORE':<35}, {'':<10}, {mean(accuracies):<10.6f}", ""])


def task_line(label: str) -> str:
    return next(line for line in log().split("\n") if line.startswith(f"Evaluating: {label} "))


def scored(
    folder: Path, printed: str | None, written: str | None
) -> subprocess.CompletedProcess[str]:
    """Runs the scorer."""
    for name in ("predictions", "answers", "out"):
        (folder / name).mkdir()
    labels = "".join(
        f"-\n  label: {label}\n  dataset_uri: x/{label}.jsonl\n  num_fewshot: [{shots}]\n"
        f"  icl_task_type: {kind}\n"
        for label, (shots, kind, _) in TASKS.items()
    )
    (folder / "answers" / "core.yaml").write_text(f"icl_tasks:\n{labels}")
    rows = "".join(f"{label},world knowledge,{row[2]}\n" for label, row in TASKS.items())
    head = "Eval Task,Task Category,Random baseline\n"
    (folder / "answers" / "eval_meta_data.csv").write_text(f"{head}{rows}another_task,x,50\n")
    for name, text in (("log.txt", printed), ("core.csv", written)):
        if text is not None:
            (folder / "predictions" / name).write_bytes(text.encode())
    return run_script(PACK, "evaluator/score.py", root=folder)


def test_core_is_computed_anew_from_the_accuracies(tmp_path: Path) -> None:
    result = scored(tmp_path, log(), table())
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "out" / "score.json").read_text())
    assert set(scores) == {"core", *TASKS}
    assert scores["core"] == pytest.approx(mean(ACCURACIES), abs=1e-6)
    assert scores["boolq"] < 0


Change = Callable[[str], str]


def swapped(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def same(text: str) -> str:
    return text


CORE_LINE = f"CORE metric: {mean(ACCURACIES):.4f}"
SQUAD = task_line("squad")
MALFORMED: list[tuple[str, Change, Change, str]] = [
    ("partial", swapped(CORE_LINE, PARTIAL), same, "not as nanochat writes it"),
    ("partial besides", swapped("Eval modes: core", PARTIAL), same, "not as nanochat"),
    ("missing", swapped(f"{SQUAD}\n", ""), same, "log.txt: no squad"),
    ("repeated", swapped(SQUAD, f"{SQUAD}\n{SQUAD}"), same, "squad twice"),
    ("strange", swapped("Evaluating: squad", "Evaluating: squid"), same, "no squad"),
    ("nan", swapped(SQUAD, SQUAD.replace("centered: 0.", "centered: nan")), same, "nanochat"),
    ("nan core", swapped(CORE_LINE, "CORE metric: nan"), same, "not as nanochat writes it"),
    ("two cores", swapped(CORE_LINE, f"{CORE_LINE}\n{CORE_LINE}"), same, "second CORE"),
    ("core first", swapped(SQUAD, f"{CORE_LINE}\n{SQUAD}"), same, "behind the CORE"),
    ("no core", swapped(CORE_LINE, ""), same, "no CORE metric"),
    ("indented", swapped(CORE_LINE, f" {CORE_LINE}"), same, "not as nanochat writes it"),
    ("more digits", swapped(CORE_LINE, f"{CORE_LINE}1"), same, "not as nanochat writes it"),
    ("more than all", swapped("accuracy: 0.3000", "accuracy: 1.3000"), same, "outside of 0 .. 1"),
    ("empty log", lambda _: "", same, "no CORE metric"),
    ("return", lambda text: text.replace("\n", "\r\n"), same, "not as nanochat writes it"),
    ("long", lambda text: text + "x" * 1_000_001, same, "longer than"),
    ("header", same, swapped("Accuracy  ", "accuracy  "), "not the header"),
    ("padding", same, swapped(f"{'squad':<35}", f"{'squad':<34}"), "core.csv line 20"),
    ("table nan", same, swapped("0.300000  ", "nan       "), "core.csv line 2"),
    ("table core", same, swapped("CORE ", "core "), "only CORE"),
    ("behind", same, lambda text: text + text.split("\n")[1] + "\n", "behind CORE"),
    ("cut", same, lambda text: text[:-1], "cut off"),
    ("row", same, swapped("squad ", "squid "), "core.csv: no squad"),
]


@pytest.mark.parametrize(("name", "printed", "written", "told"), MALFORMED)
def test_what_nanochat_does_not_write_is_malformed(
    tmp_path: Path, name: str, printed: Change, written: Change, told: str
) -> None:
    result = scored(tmp_path, printed(log()), written(table()))
    assert (result.returncode, told in result.stderr) == (3, True), (name, result.stderr)
    assert not (tmp_path / "out" / "score.json").exists()


@pytest.mark.parametrize("missing", ["log.txt", "core.csv"])
def test_a_missing_file_is_malformed(tmp_path: Path, missing: str) -> None:
    files = {"log.txt": log(), "core.csv": table()}
    del files[missing]
    result = scored(tmp_path, files.get("log.txt"), files.get("core.csv"))
    assert result.returncode == 3
    assert missing in result.stderr


TABLE_CORE = f"{mean(ACCURACIES):.6f}"
BETTER = ACCURACIES | {"squad": 0.9}
DISAGREEING: list[tuple[str, str, str, str]] = [
    ("core", log().replace(CORE_LINE, "CORE metric: 0.3100"), table(), "CORE metric: 0.3100"),
    ("table core", log(), table().replace(TABLE_CORE, "0.310000"), "0.310000"),
    ("centered", log().replace("centered: 0.0667", "centered: 0.0767"), table(), "hellaswag_zero"),
    ("squad", log(), table(BETTER), "squad"),
    ("boolq", log().replace("centered: -0.3633", "centered: 0.3633"), table(), "boolq"),
]


@pytest.mark.parametrize(("name", "printed", "written", "evidence"), DISAGREEING)
def test_numbers_that_do_not_follow_from_each_other_are_illegal(
    tmp_path: Path, name: str, printed: str, written: str, evidence: str
) -> None:
    assert (printed, written) != (log(), table()), name
    result = scored(tmp_path, printed, written)
    assert result.returncode == 4, (name, result.stderr)
    assert evidence in result.stderr.splitlines()[-1]


def test_answers_that_lack_a_task_are_the_scorers_fault(tmp_path: Path) -> None:
    scored(tmp_path, log(), table())
    path = tmp_path / "answers" / "core.yaml"
    path.write_text(path.read_text().replace("label: squad", "name: squad"))
    result = run_script(PACK, "evaluator/score.py", "predictions", "answers", root=tmp_path)
    assert (result.returncode, "21, not 22" in result.stderr) == (1, True)


@given(st.lists(st.integers(0, 10_042), min_size=len(TASKS), max_size=len(TASKS)))
def test_any_honest_accuracies_are_read_and_agree(counts: list[int]) -> None:
    accuracies = {label: n / 10_042 for label, n in zip(TASKS, counts, strict=True)}
    printed = core_log.read_evaluation(log(accuracies))
    written = core_log.read_table(table(accuracies))
    chance = {label: row[2] for label, row in TASKS.items()}
    core_log.demand_arithmetic(printed, chance, core_log.LOG_STEP)
    core_log.demand_arithmetic(written, chance, core_log.TABLE_STEP)
    core_log.demand_agreement(printed, written)
    assert written.tasks["squad"].accuracy == pytest.approx(accuracies["squad"], abs=1e-6)


@given(st.sampled_from(list(TASKS)), st.floats(0.001, 0.5))
def test_any_centred_value_that_is_improved_is_noticed(label: str, gain: float) -> None:
    value = centered(label, ACCURACIES[label])
    old, new = f"centered: {value:.4f}", f"centered: {value + gain:.4f}"
    better = log().replace(task_line(label), task_line(label).replace(old, new))
    chance = {name: row[2] for name, row in TASKS.items()}
    with pytest.raises(core_log.Disagreement, match=label):
        core_log.demand_arithmetic(core_log.read_evaluation(better), chance, core_log.LOG_STEP)


TRAINING = f"""Step 00000 | Validation bpb: 3.214321
step 00299/02520 (11.87%) | loss: 3.100000 | lrm: 1.00 | dt: 100.00ms | total time: 0.40m
{PARTIAL}
Step 02520 | Validation bpb: 0.854321
Peak memory usage: 30123.45MiB
Total training time: 4.71m
Minimum validation bpb: 0.854321
"""


def test_a_log_of_training_is_read() -> None:
    found = core_log.read_training(TRAINING)
    assert found.validation == {0: 3.214321, 2520: 0.854321}
    assert found.partial_core == {2000: 0.9999}
    assert (found.least_bpb, found.minutes, found.peak_mib) == (0.854321, 4.71, 30123.45)
    assert core_log.read_training("").least_bpb is None
    with pytest.raises(core_log.Malformed):
        core_log.read_evaluation(TRAINING)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.854321\nPeak", "nan\nPeak"),
        ("Step 02520", "Step 00000"),
        ("4.71m", "4.71m "),
        ("Total training time: 4.71m", "Total training time: 4.71m\nTotal training time: 0.01m"),
        ("Minimum validation bpb: 0.8", "best Minimum validation bpb: 0.8"),
    ],
)
def test_a_log_of_training_that_nanochat_does_not_write_is_malformed(old: str, new: str) -> None:
    assert old in TRAINING
    with pytest.raises(core_log.Malformed):
        core_log.read_training(TRAINING.replace(old, new))
