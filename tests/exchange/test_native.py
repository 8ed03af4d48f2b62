"""The JSONL export: what is read back is what was written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipelab.core.errors import RecipelabError
from recipelab.core.trial import (
    Certificate,
    Checkpoint,
    Evidence,
    Outcome,
    Phase,
    Proposal,
    Standing,
    Status,
)
from recipelab.exchange.campaign_copy import copy_of
from recipelab.exchange.files import import_campaign
from recipelab.exchange.jsonl import export_lines
from recipelab.exchange.metric import metric_of
from recipelab.lineage import LineageStore, NewMessage, TrialState
from tests.lineage.helpers import (
    CAMPAIGN,
    OUTCOMES,
    PROPOSALS,
    TEXT,
    add_campaign,
    judged,
    outcome,
    proposal,
    propose,
)

from .runs import airbench, write_run

PATHS = st.from_regex(r"[a-zé🙂]{1,6}(/[a-z ]{1,3}x){0,2}", fullmatch=True)
FILES = st.dictionaries(PATHS, TEXT, max_size=3)
TRIALS = st.lists(
    st.tuples(PROPOSALS, FILES, st.none() | OUTCOMES, st.booleans()), min_size=1, max_size=5
)


ROUND = '{"number":1,"started_at":"2026-01-02T00:00:00Z","ended_at":null}'


def exported(store: LineageStore, name: str) -> str:
    return "".join(export_lines(store, name))


def fill(
    store: LineageStore, trials: list[tuple[Proposal, dict[str, str], Outcome | None, bool]]
) -> None:
    """Adds a campaign whose trials are judged last first."""
    add_campaign(store)
    store.start_round(CAMPAIGN)
    views = ("", "all that was tried", "\x00 and \ud800", "all that was tried")
    turns = [store.add_turn(CAMPAIGN, "a", view=view, round_number=1) for view in views]
    for number, (proposed, files, _, in_round) in enumerate(trials):
        store.propose(
            CAMPAIGN,
            proposed,
            parents=range(number - 1, max(number - 3, -1), -1),
            files=files,
            digest=f"d{number}",
            diff="-x\n+y\n",
            round_number=1 if in_round else None,
            turn=turns[number % len(turns)] if in_round else None,
        )
    for number, (_, _, ended, _) in reversed(list(enumerate(trials))):
        if ended is not None:
            store.record(CAMPAIGN, number, ended)
            if ended.seed_runs:
                store.add_further_runs(CAMPAIGN, number, ended.seed_runs)
                store.add_further_runs(CAMPAIGN, number, ended.seed_runs[:1])
            store.add_certificate(CAMPAIGN, number, Certificate("certified", seeds=number))
            store.add_certificate(CAMPAIGN, number, Certificate("not_certified"))
        if ended is not None and ended.status is Status.KEPT:
            found = Checkpoint(
                *(number, 0, number % 2 == 1, number % 2 == 0, ended.reason, 4, -0.5, 0.1),
                gates=ended.gates,
                runs=ended.seed_runs,
                against_runs=ended.seed_runs[:1],
            )
            store.add_checkpoint(CAMPAIGN, found)
    for text in ("hello", "\x00 and \ud800"):
        said = NewMessage("a", "T", {"content": text}, 0, turn=turns[1])
        store.add_messages(CAMPAIGN, [said], round_number=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TRIALS)
def test_export_and_import_and_export_give_the_same(
    trials: list[tuple[Proposal, dict[str, str], Outcome | None, bool]],
) -> None:
    with (
        TemporaryDirectory() as folder,
        LineageStore.open(f"{folder}/lineage.db", create=True) as store,
    ):
        fill(store, trials)
        first = exported(store, CAMPAIGN)
        file = Path(folder) / "campaign.jsonl"
        file.write_text(first, "utf-8", newline="")
        import_campaign(store, file, "copy")
        assert exported(store, "copy") == first
        copied, original = copy_of(store, "copy"), copy_of(store, CAMPAIGN)
        # Nobody can foretell the seeds of an imported campaign from an export.
        assert original.secret and original.secret.hex() not in first
        assert copied.secret != original.secret
        assert replace(copied, secret=None) == replace(original, secret=None)
        assert [b.standing for b in store.each_brief("copy")] == [
            b.standing for b in store.each_brief(CAMPAIGN)
        ]
        assert store.best("copy").number == store.best(CAMPAIGN).number
        assert store.campaign("copy").state == "finished"
        assert store.certificates("copy") == store.certificates(CAMPAIGN)
        assert store.turns("copy") == store.turns(CAMPAIGN)
        assert store.views("copy") == store.views(CAMPAIGN)
        assert store.turn_messages("copy", 2) == (0, 1)


def test_a_trial_that_was_running_is_read_as_that(store: LineageStore, tmp_path: Path) -> None:
    add_campaign(store)
    number = propose(store)
    store.advance(CAMPAIGN, number, TrialState.RUNNING, Phase.TRAIN)
    (tmp_path / "x.jsonl").write_text(exported(store, CAMPAIGN), "utf-8")
    import_campaign(store, tmp_path / "x.jsonl", "copy")
    found = store.trial("copy", number)
    assert (found.state, found.phase) == (TrialState.RUNNING, Phase.TRAIN)


def test_an_export_without_turns_of_an_older_version_is_read(
    store: LineageStore, tmp_path: Path
) -> None:
    file = tmp_path / "old.jsonl"
    add_campaign(store)
    judged(store, Status.BASELINE)
    lines = exported(store, CAMPAIGN).splitlines()
    assert '"views":0,"turns":0}' in lines[-1]
    lines[0] = lines[0].replace('"format":3', '"format":2')
    lines[-1] = lines[-1].replace(',"views":0,"turns":0}', "}")
    file.write_text("\n".join(lines))
    import_campaign(store, file, "copy")
    assert store.trial_count("copy") == store.trial_count(CAMPAIGN)
    assert store.turns("copy") == ()


def test_a_released_run_comes_through_an_export(store: LineageStore, tmp_path: Path) -> None:
    import_campaign(store, write_run(tmp_path / "run", airbench()), "old")
    file = tmp_path / "old.jsonl"
    file.write_text(exported(store, "old"), "utf-8")
    with LineageStore.open(tmp_path / "other.db", create=True) as other:
        import_campaign(other, file, "again")
        assert exported(other, "again") == exported(store, "old")
        assert metric_of(other.campaign("again")) == metric_of(store.campaign("old"))
        assert other.campaigns()[0].name == "again"


def test_equal_files_are_written_once(store: LineageStore) -> None:
    add_campaign(store)
    for _ in range(3):
        propose(store)
    lines = [json.loads(text) for text in exported(store, CAMPAIGN).splitlines()]
    assert sum(item["line"] == "file" for item in lines) == 2
    assert lines[-1] == {
        "line": "end",
        "trials": 3,
        "files": 2,
        "messages": 0,
        "notes": 0,
        "usage": 0,
        "further_runs": 0,
        "certificates": 0,
        "checkpoints": 0,
        "views": 0,
        "turns": 0,
    }


def test_a_trial_that_moved_onto_a_later_one_comes_through_an_export(
    store: LineageStore, tmp_path: Path
) -> None:
    add_campaign(store)
    judged(store, Status.BASELINE)
    slow, head = propose(store, 0), propose(store, 0)
    provisional = Evidence(0, 2, 2, standing=Standing.PROVISIONAL)
    store.record(CAMPAIGN, head, replace(outcome(Status.KEPT), evidence=provisional))
    store.rebase(CAMPAIGN, slow, onto=head, files={"a": "b"}, digest="d", diff="+b\n")
    store.record(CAMPAIGN, slow, replace(outcome(Status.KEPT), evidence=provisional))
    store.add_checkpoint(CAMPAIGN, Checkpoint(head, 0, True, False, "it holds", 4, level=0.01))
    file = tmp_path / "x.jsonl"
    file.write_text(text := exported(store, CAMPAIGN), "utf-8")
    import_campaign(store, file, "copy")
    assert exported(store, "copy") == text
    assert store.trial("copy", slow).parents == (head, 0)
    assert [record.number for record in store.chain("copy", slow)] == [0, head, slow]
    assert [store.best("copy").number, store.certified("copy").number] == [slow, head]
    assert [b.standing for b in store.each_brief("copy")] == [None, "provisional", "certified"]
    assert store.confirmations("copy") == (True,)
    # The other way round it would be a circle.
    file.write_text(text.replace('"judged":[0,2,1]', '"judged":[0,1,2]'), "utf-8")
    with pytest.raises(RecipelabError, match="trial 1 has a parent that is no earlier trial: 2"):
        import_campaign(store, file, "circle")


def _written(store: LineageStore, file: Path) -> list[str]:
    add_campaign(store)
    judged(store, Status.BASELINE)
    store.propose_and_record(
        CAMPAIGN,
        proposal(),
        outcome(),
        parents=[0],
        files={},
        digest="",
        diff="",
        round_number=None,
    )
    turn = store.add_turn(CAMPAIGN, "opt", view="what was tried", round_number=None)
    assert propose(store, 0, turn=turn) == 2
    store.record(CAMPAIGN, 2, outcome())
    store.add_further_runs(CAMPAIGN, 0, outcome().seed_runs[:1])
    store.add_certificate(CAMPAIGN, 1, Certificate("certified"))
    return exported(store, CAMPAIGN).splitlines()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            '"line":"end"',
            '"line":"ende"',
            "line 11: unknown line 'ende'; valid: certificate, checkpoint, end",
        ),
        ('"trials":3', '"trials":2', "is not complete"),
        ("x = 1", "x = 7", "not what its SHA-256 says"),
        ('"status":"baseline"', '"status":"won"', r"line 4: trial.outcome.status: "),
        ('"parents":[0]', '"parents":[1]', "no earlier trial"),
        ('"number":1', '"number":2', "stands where 1 should"),
        ('"judged":[0,1,2]', '"judged":[0,1]', "order of judging"),
        ('"round":null', '"round":4', "no round 4"),
        ('"format":3', '"format":9', "format 9; this recipelab reads 2, 3"),
        ("what was tried", "what was not", "content of the view is not what its SHA-256 says"),
        ('"line":"turn","turn":{"number":1', '"line":"turn","turn":{"number":2', "turn 2 stands"),
        ('"trials":[2]', '"trials":[2,2]', "trial 2 was submitted in two turns"),
        ('"trials":[2]', '"trials":[7]', "turn 1 is about trial 7, a trial that is not there"),
        ('"first_message":null', '"first_message":0', "turn 1 has messages that are not there"),
        ('"view":"', '"view":"0', "turn 1: what it showed is missing"),
        ('"views":1', '"views":0', "is not complete"),
        ('{"line":"trial"', '{"line":"trial', "line 4: not JSON"),
        ('"specialist"', '"specialised"', "specialist"),
        ('"line":"campaign"', '"line":"x"', "no export of a campaign"),
        ('"score":1.0', '"score":1e999', "cannot import .*score must be a finite number"),
        ('"files":{}', '"files":[]', "line 5: "),
        ('"seed":0', '"seed":1' + 30 * "0", "cannot import"),
        ('"rounds":[', '"rounds":[' + ROUND + "," + ROUND, "a round is there twice"),
        ('"further_run":{"trial":0', '"further_run":{"trial":7', "a trial that is not there"),
        ('"certificate":{"trial":1', '"certificate":{"trial":-1', "a trial that is not there"),
        ('"further_runs":1', '"further_runs":2', "is not complete"),
        ('"settings":{', '"settings":{"x":' + 100_000 * "[", "line 1: not JSON"),
    ],
)
def test_a_damaged_export_is_refused_whole(
    store: LineageStore, tmp_path: Path, old: str, new: str, told: str
) -> None:
    file = tmp_path / "x.jsonl"
    text = "\n".join(_written(store, file))
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(RecipelabError, match=told):
        import_campaign(store, file, "copy")
    assert len(store.campaigns()) == 1


def test_a_torn_export_is_refused(store: LineageStore, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("\n".join(_written(store, file)[:-1]))
    with pytest.raises(RecipelabError, match="is not complete"):
        import_campaign(store, file, "copy")


@pytest.mark.parametrize("name", ["gone.jsonl", "."])
def test_a_path_without_a_campaign_is_refused(
    store: LineageStore, tmp_path: Path, name: str
) -> None:
    with pytest.raises(RecipelabError, match=r"there is no|has no results.tsv"):
        import_campaign(store, tmp_path / name, "copy")
