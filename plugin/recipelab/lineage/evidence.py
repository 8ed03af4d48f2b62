"""Keep what stands behind judgments: tests, checkpoints, further seed runs, certificates."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean, stdev

from pydantic import TypeAdapter

from recipelab.core.errors import LineageError
from recipelab.core.trial import (
    Certificate,
    Checkpoint,
    FailureKind,
    GateResult,
    Phase,
    SeedRun,
    Standing,
    Status,
)
from recipelab.lineage.database import Row, Transaction
from recipelab.lineage.lookup import (
    LARGEST_NUMBER,
    OpenLineage,
    check_live,
    number_of,
    trial_id_of,
    trial_ids_of,
    trial_key,
)
from recipelab.lineage.records import CertificateRecord, CheckpointRecord, FurtherRunRecord
from recipelab.lineage.summary_records import Comparison
from recipelab.lineage.trial_rows import forget_finished_runs
from recipelab.lineage.trials import best_id
from recipelab.lineage.values import (
    REASON_CHARACTERS,
    check_checkpoint,
    check_seed_run,
    cut,
    from_stamp,
    gates_json,
    measures_json,
    now,
    runs_json,
    seed_run,
    timings_json,
    to_json,
    to_stamp,
)

_NOTHING_BESIDE = -1
_FINISHED = """
SELECT seed, timings, measures, items, artifact FROM finished_run
WHERE trial_id = :id AND digest = :digest AND beside = :beside
"""
_ADD_FINISHED = """
INSERT INTO finished_run (trial_id, digest, beside, seed, timings, measures, items, artifact)
VALUES (:trial_id, :digest, :beside, :seed, :timings, :measures, :items, :artifact)
ON CONFLICT (trial_id, digest, beside, seed) DO NOTHING
"""
_FURTHER_RUNS = """
SELECT r.trial_id, r.made_at, r.seed, r.timings, r.measures
FROM further_run r JOIN trial t ON t.id = r.trial_id
"""
_CERTIFICATES = """
SELECT c.trial_id, c.made_at, c.found FROM certificate c JOIN trial t ON t.id = c.trial_id
WHERE t.campaign_id = :campaign ORDER BY c.made_at, c.trial_id, c.position
"""
_COMPARED = """
SELECT t.id, t.parent_id, e.against, e.confirmed, x.seed_runs
FROM trial t JOIN trial_text x ON x.trial_id = t.id LEFT JOIN evidence e ON e.trial_id = t.id
WHERE t.id IN :ids AND t.status IS NOT NULL
"""
_SEED_RUNS = "SELECT trial_id, seed_runs FROM trial_text WHERE trial_id IN :ids"
_RUN_AGAIN = "SELECT trial_id, seed, measures FROM further_run WHERE trial_id IN :ids"
_MOST_COMPARED = 201
_RACING = """
SELECT sum(e.planned), sum(e.planned) - sum(e.screened), sum(e.saved_seconds), sum(e.confirmed)
FROM trial t JOIN evidence e ON e.trial_id = t.id WHERE t.campaign_id = :campaign
"""
_PROJECTED = """
SELECT count(*) FROM trial t JOIN failure f ON f.id = t.failure_id
WHERE t.campaign_id = :campaign AND f.kind = :kind
"""
_RUNS = "SELECT seed_runs FROM trial_text WHERE trial_id = :id"
_CLAIMS = """
SELECT claimed FROM (
  SELECT CASE WHEN t.status = :kept THEN 1 ELSE 0 END AS claimed, 1 AS kind, t.judged_order AS place
  FROM evidence e JOIN trial t ON t.id = e.trial_id
  WHERE t.campaign_id = :campaign AND e.level IS NOT NULL
  UNION ALL
  SELECT CASE WHEN held THEN 1 ELSE 0 END, 2, position FROM checkpoint WHERE campaign_id = :campaign
) AS tests ORDER BY kind, place
"""
_CHECKPOINTS = """
SELECT position, made_at, trial_id, against, held, fell_back, reason, seeds, delta, delta_se,
  delta_low, delta_high, p, level, gates, runs, against_runs
FROM checkpoint WHERE campaign_id = :campaign ORDER BY position
"""
_STAND = """
UPDATE trial SET standing = :standing
WHERE campaign_id = :campaign AND standing = 'provisional'
"""
_FALLEN = "UPDATE trial SET standing = :standing WHERE id = :head"
_UP_TO = " AND judged_order <= (SELECT judged_order FROM trial WHERE id = :head)"

_FOUND = TypeAdapter(Certificate)


class EvidenceStore(OpenLineage):
    """Reads and writes what stands behind judgments.

    Args:
        database: The open database.
    """

    def confirmations(self, campaign: str) -> tuple[bool, ...]:
        """Return for each test on fresh seeds whether it ended in a claim.

        Returns:
            The tests of trials in the order of their judgment, then the checkpoints in theirs.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            claims = transaction.values(_CLAIMS, campaign=campaign_id, kept=Status.KEPT.value)
        return tuple(map(bool, claims))

    def checkpoints(self, campaign: str) -> tuple[CheckpointRecord, ...]:
        """Return the checkpoints of a campaign's working line, oldest first."""
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(_CHECKPOINTS, campaign=campaign_id)
        return tuple(map(_checkpoint, rows))

    def add_checkpoint(self, campaign: str, found: Checkpoint) -> None:
        """Add what a checkpoint found, and let the line's trials stand as it says.

        If it held, the provisional trials that were judged up to its head are certified; if the
        line fell back, all provisional trials are unproven, and its head, whatever it was.

        Args:
            campaign: Name of the campaign.
            found: The checkpoint.

        Raises:
            LineageError: There is no such trial, or the head was not kept.
            LeaseLost: This process is a driver that was given up.
            ValueError: A figure is not a finite number, or it held and fell back.
        """
        check_checkpoint(found)
        with self._writing_to(campaign) as (transaction, campaign_id):
            if (driver := self._driving.get(campaign)) is not None:
                check_live(transaction, campaign_id, driver)
            numbers = (found.trial, found.against)
            head, _ = trial_ids_of(transaction, campaign_id, numbers, campaign)
            status = transaction.value("SELECT status FROM trial WHERE id = :id", id=head)
            if status != Status.KEPT:
                raise LineageError(
                    f"trial {found.trial} of {campaign} heads no line: it is "
                    f"{status or 'in flight'}, not kept"
                )
            position: int = transaction.value(
                "SELECT count(*) FROM checkpoint WHERE campaign_id = :campaign",
                campaign=campaign_id,
            )
            record = CheckpointRecord(position, now(), found)
            insert_checkpoint(transaction, campaign_id, head, record)
            forget_finished_runs(transaction, head)
            line = {"campaign": campaign_id}
            if found.held:
                certified = Standing.CERTIFIED.value
                transaction.run(_STAND + _UP_TO, **line, standing=certified, head=head)
            elif found.fell_back:
                transaction.run(_STAND, **line, standing=Standing.UNPROVEN.value)
                transaction.run(_FALLEN, head=head, standing=Standing.UNPROVEN.value)

    def racing(self, campaign: str) -> dict[str, float]:
        """Return what racing left out, and what confirmations took.

        Returns:
            ``planned`` seed runs of all screenings, ``left_out`` of them, ``saved_seconds`` that
            these would have taken, and ``fresh_seeds`` of confirmations.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            (row,) = transaction.rows(_RACING, campaign=campaign_id)
        planned, left_out, seconds, fresh = (value or 0 for value in row)
        return {
            "planned": int(planned),
            "left_out": int(left_out),
            "saved_seconds": float(seconds),
            "fresh_seeds": int(fresh),
        }

    def projected(self, campaign: str) -> dict[str, float | None]:
        """Return what was not trained, as its preflight projected it over a limit.

        Returns:
            ``refused`` trials, ``train_seconds`` of one training of the best on the wall clock
            (``None`` if it is not known), and ``saved_seconds``, the one times the other.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            refused = transaction.value(
                _PROJECTED, campaign=campaign_id, kind=FailureKind.PROJECTED.value
            )
            each = _train_seconds(transaction, campaign_id, campaign) if refused else None
        saved = None if each is None else refused * each
        return {"refused": int(refused or 0), "train_seconds": each, "saved_seconds": saved}

    def comparisons(
        self, campaign: str, numbers: Sequence[int], *, metric: str
    ) -> dict[int, Comparison]:
        """Return what the changes of some judged trials are changes against.

        Args:
            campaign: Name of the campaign.
            numbers: Numbers of at most 201 trials; those that are no trials are left out.
            metric: Name of the metric among the measurements of a seed run.

        Raises:
            LineageError: Too many are asked for.
        """
        if len(numbers) > _MOST_COMPARED:
            raise LineageError(
                f"at most {_MOST_COMPARED} trials can be compared, not {len(numbers)}"
            )
        with self._asking(campaign) as (transaction, campaign_id):
            ids = [trial_key(campaign_id, n) for n in numbers if 0 <= n <= LARGEST_NUMBER]
            rows = transaction.rows(_COMPARED, ids=ids) if ids else []
            parents = sorted({row[1] for row in rows if row[1] is not None})
            seeds = {row[0]: tuple(run[0] for run in json.loads(row[4])) for row in rows}
            known = {row[0]: _metrics(row[4], metric) for row in rows}
            known |= _metrics_of_parents(transaction, parents, metric)
        return {
            number_of(trial_id): _comparison(
                known[trial_id],
                known.get(parent_id, {}),
                against=against,
                # The judgment rests on the fresh seeds, which ran last, once there are any.
                judged=seeds[trial_id][-(confirmed or 0) :],
            )
            for trial_id, parent_id, against, confirmed, _ in rows
        }

    def further_runs(self, campaign: str, number: int) -> tuple[SeedRun, ...]:
        """Return the seed runs of a judged trial that were made to compare others with it.

        Raises:
            LineageError: There is no such trial.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            statement = f"{_FURTHER_RUNS} WHERE r.trial_id = :id ORDER BY r.position"
            rows = transaction.rows(statement, id=trial_id)
        return tuple(_further_run(row).run for row in rows)

    def all_further_runs(self, campaign: str) -> tuple[FurtherRunRecord, ...]:
        """Return the further seed runs of all trials of a campaign, by trial and in order."""
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(
                f"{_FURTHER_RUNS} WHERE t.campaign_id = :campaign ORDER BY r.trial_id, r.position",
                campaign=campaign_id,
            )
        return tuple(map(_further_run, rows))

    def add_further_runs(self, campaign: str, number: int, runs: Sequence[SeedRun]) -> None:
        """Add seed runs of a judged trial that were made to compare another one with it.

        Args:
            campaign: Name of the campaign.
            number: The trial that ran again.
            runs: The seed runs; at least one.

        Raises:
            LineageError: There is no such trial.
            ValueError: A figure is not a finite number.
        """
        for run in runs:
            check_seed_run(run)
        with self._writing_trial(campaign, number) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            made_at = now()
            for run in runs:
                insert_further_run(transaction, trial_id, FurtherRunRecord(number, made_at, run))

    def finished_runs(
        self, campaign: str, number: int, digest: str, *, beside: int | None = None
    ) -> dict[int, SeedRun]:
        """Return the seed runs that have finished of a trial or checkpoint that has not.

        Args:
            campaign: Name of the campaign.
            number: The trial, or the head that a checkpoint tests.
            digest: Digest of the recipe that ran.
            beside: The trial that ran beside it; ``None`` if none did.

        Returns:
            The seed runs by seed.

        Raises:
            LineageError: There is no such trial.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            place = _NOTHING_BESIDE if beside is None else beside
            rows = transaction.rows(_FINISHED, id=trial_id, digest=digest, beside=place)
        return {
            seed: replace(
                seed_run(seed, json.loads(timings), json.loads(measures)),
                items=bytes(items),
                artifact=artifact,
            )
            for seed, timings, measures, items, artifact in rows
        }

    def add_finished_run(
        self, campaign: str, number: int, digest: str, run: SeedRun, *, beside: int | None = None
    ) -> None:
        """Add a seed run that has finished, until its trial or checkpoint has an outcome.

        Args:
            campaign: Name of the campaign.
            number: The trial, or the head that a checkpoint tests.
            digest: Digest of the recipe that ran.
            run: The seed run; one that is there already stays as it is.
            beside: The trial that ran beside it; ``None`` if none did.

        Raises:
            LineageError: There is no such trial.
            ValueError: A figure is not a finite number.
        """
        check_seed_run(run)
        with self._writing_trial(campaign, number) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            transaction.run(
                _ADD_FINISHED,
                trial_id=trial_id,
                digest=digest,
                beside=_NOTHING_BESIDE if beside is None else beside,
                seed=run.seed,
                timings=timings_json(run),
                measures=measures_json(run),
                items=run.items,
                artifact=run.artifact,
            )

    def certificates(self, campaign: str) -> tuple[CertificateRecord, ...]:
        """Return all certifications of a campaign's trials, oldest first."""
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(_CERTIFICATES, campaign=campaign_id)
        return tuple(
            CertificateRecord(number_of(trial_id), from_stamp(made_at), _FOUND.validate_json(found))
            for trial_id, made_at, found in rows
        )

    def add_certificate(self, campaign: str, number: int, found: Certificate) -> None:
        """Add what a certification found.

        Args:
            campaign: Name of the campaign.
            number: The trial that was certified.
            found: The certificate.

        Raises:
            LineageError: There is no such trial.
        """
        with self._writing_to(campaign) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            record = CertificateRecord(number, now(), found)
            insert_certificate(transaction, trial_id, record)


def _train_seconds(transaction: Transaction, campaign_id: int, campaign: str) -> float | None:
    """Return the mean wall-clock seconds of a training of the best."""
    best = best_id(transaction, campaign_id, campaign)
    runs = json.loads(transaction.value(_RUNS, id=best) or "[]")
    times = [timing[1] for _, timings, _ in runs for timing in timings if timing[0] == Phase.TRAIN]
    return fmean(times) if times else None


def _metrics(seed_runs: str, metric: str) -> dict[int, float]:
    """Return the metric by seed, in the order of the runs."""
    return {
        seed: measures[metric] for seed, _, measures in json.loads(seed_runs) if metric in measures
    }


def _metrics_of_parents(
    transaction: Transaction, parents: Sequence[int], metric: str
) -> dict[int, dict[int, float]]:
    """Return the metric by seed of trials that others are compared with, further runs included.

    Each is read once in a transaction.
    """
    known: dict[int, dict[int, float]] = transaction.memo.setdefault(("metrics", metric), {})
    if missing := [parent for parent in parents if parent not in known]:
        texts = transaction.pairs(_SEED_RUNS, ids=missing)
        known.update((parent, _metrics(runs, metric)) for parent, runs in texts.items())
        for parent, seed, measures in transaction.rows(_RUN_AGAIN, ids=missing):
            value = json.loads(measures).get(metric)
            if value is not None:
                known[parent].setdefault(seed, value)
    return {parent: known[parent] for parent in parents}


def _comparison(
    own: Mapping[int, float],
    parent: Mapping[int, float],
    *,
    against: int | None,
    judged: tuple[int, ...],
) -> Comparison:
    common = tuple(seed for seed in own if seed in parent)
    if not common:
        return Comparison(against, judged)
    changes = [own[seed] - parent[seed] for seed in common]
    error = stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else None
    return Comparison(against, judged, fmean(changes), error, common)


def _further_run(row: Row) -> FurtherRunRecord:
    trial_id, made_at, seed, timings, measures = row
    run = seed_run(seed, json.loads(timings), json.loads(measures))
    return FurtherRunRecord(number_of(trial_id), from_stamp(made_at), run)


def _checkpoint(row: Row) -> CheckpointRecord:
    position, made_at, head, against, held, fell_back, *figures, gates, runs, against_runs = row
    judged = tuple(GateResult(*gate) for gate in json.loads(gates))
    sides = [tuple(seed_run(*run) for run in json.loads(part)) for part in (runs, against_runs)]
    # SQLite has no truth values.
    columns = (number_of(head), against, bool(held), bool(fell_back), *figures, judged, *sides)
    return CheckpointRecord(position, from_stamp(made_at), Checkpoint(*columns))


def insert_checkpoint(
    transaction: Transaction, campaign_id: int, head: int, record: CheckpointRecord
) -> None:
    """Add a checkpoint at its place; the standing of its trials is left alone.

    Args:
        transaction: Where to.
        campaign_id: Whose checkpoint it is.
        head: Id of the head that was tested.
        record: The checkpoint.
    """
    found = record.found
    figures = {name: value for name, value in vars(found).items() if name != "trial"}
    transaction.insert(
        "checkpoint",
        campaign_id=campaign_id,
        position=record.position,
        trial_id=head,
        made_at=to_stamp(record.made_at),
        **figures
        | {
            "reason": cut(found.reason, REASON_CHARACTERS),
            "gates": gates_json(found.gates),
            "runs": runs_json(found.runs),
            "against_runs": runs_json(found.against_runs),
        },
    )


def insert_further_run(transaction: Transaction, trial_id: int, record: FurtherRunRecord) -> None:
    """Add a further seed run after those of the trial that are there."""
    transaction.insert(
        "further_run",
        trial_id=trial_id,
        position=_next_position(transaction, "further_run", trial_id),
        seed=record.run.seed,
        timings=timings_json(record.run),
        measures=measures_json(record.run),
        made_at=to_stamp(record.made_at),
    )


def insert_certificate(transaction: Transaction, trial_id: int, record: CertificateRecord) -> None:
    """Add a certificate after those of the trial that are there."""
    transaction.insert(
        "certificate",
        trial_id=trial_id,
        position=_next_position(transaction, "certificate", trial_id),
        made_at=to_stamp(record.made_at),
        found=to_json(asdict(record.found)),
    )


def _next_position(transaction: Transaction, table: str, trial_id: int) -> int:
    counted: int = transaction.value(
        f"SELECT count(*) FROM {table} WHERE trial_id = :id", id=trial_id
    )
    return counted
