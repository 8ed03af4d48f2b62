"""How well a trial is proven is told wherever it is shown; certificates rank by gain."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.console import Console

from recipelab.agents.evaluator_agent import _by_seed, _outcome_text
from recipelab.core.trial import (
    Certificate,
    Checkpoint,
    Evidence,
    GateResult,
    Outcome,
    SeedRun,
    Standing,
    Status,
)
from recipelab.exchange.git import commits_of
from recipelab.lineage import LineageStore
from recipelab.lineage.trial_view import evidence_words, status_words
from recipelab.packs.judging_sections import Gate, Goal, Metric
from recipelab.report.certificates import leaderboard_rows, leaderboard_table
from recipelab.report.figures import _checkpoints
from recipelab.report.transcript import Transcript, TranscriptFormat
from recipelab.report.transcript.rendering import TONES
from recipelab.report.transcript.review import Review
from recipelab.report.trial import (
    SHEET_DIFF_CHARACTERS,
    campaign_facts,
    line_facts,
    line_words,
    trial_sheet,
    trials_table,
)
from tests.lineage.helpers import CAMPAIGN, FILES, add_campaign, judged, propose


@pytest.fixture
def line(store: LineageStore) -> LineageStore:
    """A baseline, a certified trial, and trial 2, which moved onto trial 3 and was kept."""
    add_campaign(store)
    judged(store, Status.BASELINE, score=10.0)
    kept(store, propose(store, 0), Evidence(0, 2, 2, standing=Standing.PROVISIONAL), 8.0)
    store.add_checkpoint(CAMPAIGN, Checkpoint(1, 0, True, False, "it holds", 4, level=0.01))
    slow = propose(store, 1)
    kept(store, propose(store, 1), Evidence(1, 2, 2, standing=Standing.PROVISIONAL), 7.0)
    store.rebase(CAMPAIGN, slow, onto=3, files=FILES, digest="d", diff="+x\n")
    moved = Evidence(
        *(3, 2, 2),
        standing=Standing.PROVISIONAL,
        rebased_from=1,
        parent_delta=-1.25,
        parent_delta_se=0.5,
        stopped_early=3,
    )
    kept(store, slow, moved, 6.0)
    return store


METRIC = Metric(name="cpu", goal=Goal.MINIMIZE, unit="s", measure="train.cpu_seconds")


def kept(store: LineageStore, number: int, evidence: Evidence, score: float) -> None:
    delta = score - 10.0
    store.record(
        CAMPAIGN, number, Outcome(Status.KEPT, "so", score=score, delta=delta, evidence=evidence)
    )


def shown(what: object) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_the_sheet_of_a_huge_diff_shows_its_head_and_names_the_whole(store: LineageStore) -> None:
    add_campaign(store)
    judged(store, Status.BASELINE, score=10.0)
    record = replace(store.trial(CAMPAIGN, 0), diff="+@a\n" * 100_000)
    sheet = shown(trial_sheet(record, unit="s"))
    assert sheet.count("@a") == SHEET_DIFF_CHARACTERS // 4
    assert "400,000 characters in all; whole: recipelab show 0 --json" in sheet


def test_certified_and_provisional_differ_in_every_view(line: LineageStore) -> None:
    records = list(line.each_trial(CAMPAIGN))
    table = shown(trials_table(records, unit="s", title="t", width=160))
    assert [table.count(words) for words in ("kept, certified", "kept, provisional")] == [1, 2]
    assert "kept, certified" in shown(trial_sheet(records[1], unit="s"))
    told = "".join(Review.of(line, line.campaign(CAMPAIGN)).outcomes([1, 2]))
    assert "kept, certified" in told and "kept, provisional" in told
    assert "The best changed meanwhile" in told
    facts = campaign_facts(line, line.campaign(CAMPAIGN))
    assert (facts["best"]["trial"], facts["certified"]["trial"]) == (2, 1)
    assert facts["certified_percent"] == pytest.approx(-20.0)


def test_a_transcript_tells_what_checkpoints_found(line: LineageStore) -> None:
    found = Checkpoint(
        *(2, 1, False, True, "no gain: the line <b>ends</b>", 8),
        delta=-0.25,
        delta_se=0.5,
        delta_low=-1.25,
        delta_high=0.75,
        p=0.31,
        level=0.002,
        gates=(GateResult("accuracy", 0.95, 0.9, 0.05, 0.01),),
    )
    line.add_checkpoint(CAMPAIGN, found)
    campaign = line.campaign(CAMPAIGN)
    whole = "".join(Transcript(line, campaign).pieces(TranscriptFormat.MARKDOWN))
    section = whole[whole.index("## Checkpoints") :]
    assert "**Checkpoint 1**: the line up to trial 1 against trial 0: **holds**" in section
    assert "**Checkpoint 2**: the line up to trial 2 against trial 1: **does not hold**" in section
    assert "-0.25 +- 0.5 (95 %: -1.25 to +0.75)" in section.replace("\\", "")
    assert "p 0.31 at level 0.002, on 8 fresh seeds" in section
    assert "gate accuracy **passed**" in section
    assert "\\<b>ends" in section, "a reason is text, not markup"
    # That of trial 3 has none, as no checkpoint tested it.
    others = [
        "".join(Transcript(line, campaign, trial=n).pieces(TranscriptFormat.MARKDOWN))
        for n in (2, 3)
    ]
    assert ["## Checkpoints" in text for text in others] == [True, False]
    facts = line_facts(line, CAMPAIGN, Goal.MINIMIZE)
    assert facts is not None
    (table,) = map(shown, _checkpoints(facts["tests"]))
    assert "-1.25 to +0.75" in table and "does not hold" in table


def test_agents_read_how_a_moved_trial_did_against_its_parent_and_the_head(
    line: LineageStore,
) -> None:
    text = _outcome_text(line.trial(CAMPAIGN, 2), METRIC, ())
    assert "Trial 2 (opt by optimizer): kept, provisional." in text
    assert re.search(r"Against trial 3, the best then[^:]*: -4 s\.", text)
    assert (
        "The best changed meanwhile: it was screened beside trial 1, and judged against trial 3."
        in text
    )
    # Before it ran there was no screening beside another.
    (moved,) = evidence_words(Evidence(3, 2, 2, rebased_from=1))
    assert moved == "The best changed before it ran, from trial 1 to trial 3"
    assert "Against the recipe that it was screened beside: -1.25 ± 0.5." in text
    assert "3 seed runs were stopped early on their training curve." in text
    assert list(evidence_words(Evidence(0, 2, 2))) == []
    (same,) = evidence_words(Evidence(0, 2, 1, deterministic=True))
    assert "the same for every seed" in same


def test_commits_follow_their_parents_though_those_have_higher_numbers(line: LineageStore) -> None:
    commits = [(commit.record.number, commit.parents) for commit in commits_of(line, CAMPAIGN)]
    assert commits == [(0, ()), (1, (0,)), (3, (1,)), (2, (3, 1))]


def certificate(score: float, baseline: float, low: float, high: float, p: float) -> Certificate:
    delta = score - baseline
    return Certificate(
        "certified", "so", False, 8, score, 0.1, baseline, delta, delta + low, delta + high, p
    )


def test_certificates_rank_by_relative_gain_and_every_try_counts(line: LineageStore) -> None:
    # The second ran on a slow day: worse in seconds, better against its own baseline.
    fast, slow = certificate(8.0, 10.0, -0.5, 0.5, 0.004), certificate(9.0, 18.0, -1.0, 1.0, 0.001)
    failed = Certificate("not_certified", "so", False, 8, 9.9, 0.1, 10.0, -0.1, -0.3, 0.1, 0.2)
    for number, found in ((1, failed), (1, fast), (2, slow)):
        line.add_certificate(CAMPAIGN, number, found)
    rows = leaderboard_rows(line, CAMPAIGN, Goal.MINIMIZE)
    assert [(row.trial, row.certificate.status) for row in rows] == [
        (2, "certified"),
        (1, "certified"),
        (1, "not_certified"),
    ]
    gains = [row.gain_percent(Goal.MINIMIZE) for row in rows]
    assert gains == pytest.approx([50.0, 20.0, 1.0])
    assert {row.tries for row in rows} == {3}
    assert [row.p for row in rows] == pytest.approx([0.003, 0.012, 0.6])
    # t with 7 degrees of freedom: 3.127552 for 1 - 0.025 / 3, and 2.364624 for 0.975.
    assert rows[1].interval == pytest.approx((-2.0 - 0.661321, -2.0 + 0.661321), rel=1e-5)
    table = shown(leaderboard_table(rows, goal=Goal.MINIMIZE, title="Certifications"))
    assert "corrected for 3 tries" in table and "+50.00 %" in table


def test_what_a_certificate_is_corrected_for_is_not_corrected_for_again(line: LineageStore) -> None:
    for tries in (1, 2, 3):
        # t with 7 degrees of freedom for 1 - 0.025 / tries: the same measurement each time.
        reach = {1: 2.364624, 2: 2.841244, 3: 3.127552}[tries] / 10
        found = certificate(8.0, 10.0, -reach, reach, 0.004 * tries)
        line.add_certificate(CAMPAIGN, 1, replace(found, tries=tries))
    rows = leaderboard_rows(line, CAMPAIGN, Goal.MINIMIZE)
    for row in rows:
        assert row.p == pytest.approx(0.012)
        assert row.interval == pytest.approx((-2.3127552, -1.6872448), rel=1e-5)


def test_a_gain_that_the_correction_takes_is_no_longer_certified(line: LineageStore) -> None:
    near = certificate(9.0, 10.0, -0.9, 0.9, 0.02)
    line.add_certificate(CAMPAIGN, 1, near)
    (row,) = leaderboard_rows(line, CAMPAIGN, Goal.MINIMIZE)
    assert row.holds(Goal.MINIMIZE) and row.interval == pytest.approx((-1.9, -0.1))
    line.add_certificate(CAMPAIGN, 2, near)
    rows = leaderboard_rows(line, CAMPAIGN, Goal.MINIMIZE)
    assert not any(row.holds(Goal.MINIMIZE) for row in rows)
    table = shown(leaderboard_table(rows, goal=Goal.MINIMIZE, title="c"))
    assert table.count("not certified after correction") == 2


def test_stats_tell_the_certified_gain_beside_that_of_the_head(line: LineageStore) -> None:
    facts = line_facts(line, CAMPAIGN, Goal.MINIMIZE)
    assert facts is not None
    assert (facts["head"], facts["certified"]) == (2, 1)
    gains = [facts["head_gain_percent"], facts["certified_gain_percent"]]
    assert gains == pytest.approx([40.0, 20.0])
    assert (facts["checkpoints"], facts["held"], facts["fell_back"]) == (1, 1, 0)
    (test,) = facts["tests"]
    assert (test["trial"], test["against"], test["verdict"]) == (1, 0, "holds")
    words = line_words(facts)
    assert "head trial 2 (+40.00 %), certified trial 1 (+20.00 %)" in words


def test_a_provisional_trial_has_a_color_of_its_own() -> None:
    words = {standing: TONES[status_words(Status.KEPT, standing)] for standing in Standing}
    assert words == {
        "certified": "good",
        "provisional": "open",
        "unproven": "bad",
        "untested": "good",
    }


def test_agents_read_what_differs_between_seeds() -> None:
    runs = (
        SeedRun(
            1, (), {"metric": 2.5, "metric.train": 1.8, "metric.predict": 0.7, "score.a": 0.89}
        ),
        SeedRun(
            7, (), {"metric": 2.4, "metric.train": 1.7, "metric.predict": 0.7, "score.a": 0.88}
        ),
    )
    outcome = Outcome(status=Status.DISCARDED, reason="slower", seed_runs=runs)
    gates = [Gate(name="a", measure="score.a", at_least=0.5)]
    charged = METRIC.model_copy(update={"charge_predict": True})
    (told,) = _by_seed(outcome, charged, gates)
    assert told == f"By seed: {METRIC.name} 2.5, 2.4; train 1.8, 1.7; score.a 0.89, 0.88."
    assert _by_seed(outcome, METRIC, ()) == [f"By seed: {METRIC.name} 2.5, 2.4."]
    assert _by_seed(replace(outcome, seed_runs=runs[:1]), charged, gates) == []
