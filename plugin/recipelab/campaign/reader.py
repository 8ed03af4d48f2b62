"""The half of a campaign that only reads: what it is, how it stands, and its trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from recipelab.campaign.planning import Say, open_lineage, say_nothing
from recipelab.core.content import Home
from recipelab.core.errors import LineageError, RecipelabError
from recipelab.core.text_form import TextForm
from recipelab.exchange.metric import MetricFacts, mark_of, metric_of
from recipelab.lineage import PAUSED, CampaignRecord, LineageStore, Page, TrialFilter, TrialRecord
from recipelab.lineage.filter import MAX_LIMIT
from recipelab.plan import Plan, plan_of

if TYPE_CHECKING:
    from recipelab.evaluation.live import LiveBoard, LivePhase
    from recipelab.evaluation.log_book import PhaseLog
    from recipelab.evaluation.now import Now
    from recipelab.evaluation.session import Overrides
    from recipelab.lineage.leases import DriverRecord
    from recipelab.packs.pack import Pack
    from recipelab.report.transcript import Transcript


class CampaignReader:
    """A campaign as the lineage has it; :class:`Campaign` adds all that changes it.

    Args:
        store: The lineage; whoever opened it closes it.
        name: Name of the campaign.
        plan: Its plan; ``None`` for the one in the lineage.
        home: Folder of its papers; ``None`` for ``$RECIPELAB_HOME`` or ``.recipelab``.
        overrides: A sandbox, an evaluator or an approver in place of what the plan names.
        say: Called with each text that a person should read.

    Attributes:
        store: The lineage.
        name: Name of the campaign.
        home: Folder of its papers.
        overrides: What takes the place of parts that the plan names.
        say: Called with each text that a person should read.
    """

    def __init__(
        self,
        store: LineageStore,
        name: str,
        *,
        plan: Plan | None = None,
        home: Home | None = None,
        overrides: Overrides | None = None,
        say: Say = say_nothing,
    ) -> None:
        self.store = store
        self.name = name
        self.home = home or Home.find()
        self.overrides = overrides
        self.say = say
        self._plan = plan
        self._stack = ExitStack()

    @classmethod
    def open(
        cls,
        name: str | None = None,
        *,
        home: Home | str | Path | None = None,
        lineage: LineageStore | str | Path | None = None,
        overrides: Overrides | None = None,
        say: Say = say_nothing,
    ) -> Self:
        """Open a campaign of the lineage.

        Args:
            name: Its name; ``None`` for the newest.
            home: Folder of papers and lineage; ``None`` for ``$RECIPELAB_HOME`` or ``.recipelab``.
            lineage: An open lineage, which stays open, or the path or URL of one; ``None`` for that
                of the home.
            overrides: A sandbox, an evaluator or an approver in place of what the plan names.
            say: Called with each text that a person should read.

        Raises:
            RecipelabError: There is no lineage, no campaign, or none of that name; the message
                lists the campaigns.
        """
        place = find_home(home)
        with ExitStack() as stack:
            store = enter_store(place, lineage, stack, create=False)
            if name is None:
                campaigns = store.campaigns()
                if not campaigns:
                    raise RecipelabError(
                        "no campaign in this lineage; start one: recipelab run PACK"
                    )
                name = campaigns[-1].name
            record = store.campaign(name)
            campaign = cls(store, record.name, home=place, overrides=overrides, say=say)
            campaign._stack = stack.pop_all()
        return campaign

    def close(self) -> None:
        """Close the lineage, if this object opened it."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def record(self) -> CampaignRecord:
        """The campaign as the lineage has it now."""
        return self.store.campaign(self.name)

    @property
    def plan(self) -> Plan:
        """What was asked of the campaign.

        Raises:
            RecipelabError: The lineage holds no plan that this version can read.
        """
        from recipelab.evaluation.seal import located

        if self._plan is not None:
            return self._plan
        record = self.record
        plan = plan_of(record)
        return plan.model_copy(update={"pack": located(plan.pack, record)})

    @cached_property
    def pack(self) -> Pack:
        """The task pack.

        Raises:
            RecipelabError: The campaign was imported, or the pack cannot be read.
        """
        from recipelab.evaluation.seal import Seal, check_folder, located
        from recipelab.packs.load import load_pack

        if self._plan is not None:
            return load_pack(self._plan.pack, self._plan.profile)
        self.check_pack_is_here()
        record = self.record
        pack = load_pack(located(record.pack, record), record.profile)
        if (seal := Seal.of_campaign(record)) is not None:
            check_folder(seal, Seal.of_pack(pack))
        return pack

    def check_pack_is_here(self) -> None:
        """Check that the campaign ran here, so that its recipes can be measured.

        Raises:
            RecipelabError: The campaign was imported.
        """
        if mark_of(self.record) is not None:
            raise RecipelabError(f"campaign {self.name} was imported: its pack is not here")

    @property
    def metric(self) -> MetricFacts:
        """Name, unit and goal of the metric; known without the pack's folder."""
        return metric_of(self.record)

    @property
    def folder(self) -> Path:
        """The folder of the campaign's papers: transcript, best patch, measurements."""
        return self.home.campaign(self.name)

    @property
    def is_imported(self) -> bool:
        """Whether the campaign came from elsewhere: it can be looked at, but not run."""
        return mark_of(self.record) is not None

    @property
    def is_running(self) -> bool:
        """Whether a process runs the campaign: on this machine, or a driver elsewhere."""
        return self.home.is_locked(self.name) or bool(self.drivers)

    @property
    def drivers(self) -> tuple[DriverRecord, ...]:
        """The drivers that run the campaign now, where its lineage is a shared one."""
        if not self.store.is_shared or self.name not in {c.name for c in self.store.campaigns()}:
            return ()
        return self.store.drivers(self.name, live=True)

    @property
    def is_paused(self) -> bool:
        """Whether the campaign is to begin no trial for now."""
        return self.record.state == PAUSED

    def running_phases(self, trial: int | None = None) -> tuple[LivePhase, ...]:
        """Return the phases that run right now, with the newest lines of their logs.

        Args:
            trial: The trial for which they run; ``None`` for all.
        """
        return self._live.phases(trial) if self.is_running else ()

    @cached_property
    def _live(self) -> LiveBoard:
        """The board of what runs; it reads a phase's file again only if that has changed."""
        from recipelab.evaluation.live import LiveBoard

        return LiveBoard(self.home.live(self.name))

    def now(self) -> Now:
        """Return what goes on right now: floor, queue, phases, next stop, warnings.

        It reads a few small files of the campaign's folder, and of the lineage the campaign alone.
        Where no process runs the campaign, it says so, and nothing runs.
        """
        from recipelab.evaluation.live import NOW
        from recipelab.evaluation.now import now_of, read_team

        record = self.record
        if not self.is_running:
            return now_of(record, None, (), alive=False)
        team = read_team(self._live.folder / NOW)
        return now_of(record, team, self._live.phases(), alive=True)

    def logs(self, number: int) -> tuple[PhaseLog, ...]:
        """Return what the phases of a trial printed, as far as it was kept here.

        Args:
            number: The trial.

        Raises:
            LineageError: There is no such trial.
        """
        from recipelab.evaluation.log_book import LogBook

        self.trial(number)
        return LogBook(self.home.logs(self.name)).logs(number)

    def trials(self, wanted: TrialFilter | None = None) -> Page[TrialRecord]:
        """Return a page of the trials that match a filter; see :meth:`each_trial` for all.

        Args:
            wanted: The filter; its goal is that of the metric. ``None`` for the newest trials.
        """
        return self.store.query(self.name, replace(wanted or TrialFilter(), goal=self.metric.goal))

    def each_trial(self) -> Iterator[TrialRecord]:
        """Yield every trial, oldest first; only a page of them is in memory at once."""
        return self.store.each_trial(self.name)

    def newest_trials(self, limit: int) -> list[TrialRecord]:
        """Return the newest trials, the oldest of them first.

        Args:
            limit: How many at most.
        """
        found: list[TrialRecord] = []
        while len(found) < limit:
            size = min(MAX_LIMIT, limit - len(found))
            page = self.store.query(self.name, TrialFilter(limit=size, offset=len(found)))
            found += page.items
            if len(page.items) < size:
                break
        return found[::-1]

    def trial(self, number: int) -> TrialRecord:
        """Return a trial with all that came of it; 0 is the baseline.

        Raises:
            LineageError: There is no such trial.
        """
        return self.store.trial(self.name, number)

    @property
    def best(self) -> TrialRecord:
        """The head of the working line: the last one kept that is not unproven, or the baseline."""
        return self.store.best(self.name)

    @property
    def certified(self) -> TrialRecord:
        """The certified trial: the last one that fresh seeds have proven, or the baseline."""
        return self.store.certified(self.name)

    def files(self, number: int) -> dict[str, str]:
        """Return the files of a trial's recipe: path to text.

        Raises:
            LineageError: There is no such trial, or it was rejected and has no recipe.
        """
        files = self.store.files(self.name, number)
        if not files:
            raise LineageError(
                f"the lineage holds no recipe of trial {number}: it was rejected, or imported "
                "without one"
            )
        return files

    def patch(self, number: int, *, prefix: str = "") -> str:
        """Return the diff from the baseline to a trial's recipe, as ``git apply`` takes it.

        It fits the files in the pack's folder, whatever their line ends and encodings; bytes that
        are no UTF-8 are kept in the text, for ``encode("utf-8", "surrogateescape")``.

        Args:
            number: The trial.
            prefix: What stands before the recipe's paths, as ``task_packs/toy/``.

        Raises:
            LineageError: There is no such trial, or it was rejected and has no recipe.
        """
        from recipelab.report.figures import patch_of

        self.files(number)
        return patch_of(self.store, self.name, number, self.text_forms(), prefix)

    def pack_folder(self) -> Path | None:
        """Return the pack's folder; ``None`` if it is not here, or its recipe is upstream's."""
        try:
            pack = self.pack
        except RecipelabError:
            return None
        return None if pack.upstream is not None else pack.root

    def export_artifact(self, number: int, folder: str | Path, *, force: bool = False) -> None:
        """Write what it takes to predict with a trial's artifact: recipe, artifact, the command.

        Args:
            number: The trial.
            folder: Where it goes.
            force: Whether a file that is there may be replaced.

        Raises:
            RecipelabError: No artifact of the trial is kept, or the place is taken or cannot be
                written.
        """
        from recipelab.exchange.artifact import write_artifact

        write_artifact(
            self.files(number),
            self.pack,
            self.home.artifacts(self.name),
            number,
            Path(folder),
            campaign=self.name,
            force=force,
        )

    def text_forms(self) -> Mapping[str, TextForm]:
        """Return the text files of the pack's recipe as they lie on disk; none if it is gone."""
        try:
            return self.pack.folder().texts
        except RecipelabError:
            return {}

    def stats(self) -> dict[str, Any]:
        """Return the figures of the campaign as plain data; ``docs/analysis.md`` explains them."""
        from recipelab.analysis import campaign_stats, history_of
        from recipelab.report.trial import line_facts

        found = campaign_stats(history_of(self.store, self.name))
        found |= {"projected": self.store.projected(self.name)}
        return found | {"line": line_facts(self.store, self.name, self.metric.goal)}

    def plot(
        self,
        kind: str,
        path: str | Path,
        *,
        width: str | float = "single",
        against: str = "trials",
        force: bool = False,
    ) -> None:
        """Draw a plot of the campaign into a file, as ``recipelab plot`` does.

        Args:
            kind: ``best``, ``tree``, ``gates``, ``surfaces``, ``noise`` or ``cost``.
            path: The file; its ending says whether it is ``.svg``, ``.pdf`` or ``.png``.
            width: ``single`` or ``double`` column of a paper, or inches.
            against: What ``best`` is drawn against: ``trials``, ``hours``, ``device-hours`` or
                ``cost``.
            force: Whether a file that is there may be replaced.

        Raises:
            RecipelabError: matplotlib is not installed, an argument is not valid, there is nothing
                to draw, or the file cannot be written.
        """
        from recipelab.report.plots import draw

        draw(kind, self.store, [self.name], path, width=width, against=against, force=force)

    def track(self, *specs: str) -> dict[str, int]:
        """Send the campaign to trackers of experiments, as ``recipelab track`` does.

        Args:
            *specs: The trackers, each as ``NAME`` or ``NAME:WHERE``.

        Returns:
            How many trials each had not had before.

        Raises:
            RecipelabError: A tracker's library is not installed, or it failed.
        """
        from recipelab.campaign.tracking import send

        return send(self, specs)

    def transcript(
        self, *, round_number: int | None = None, trial: int | None = None, views: bool = False
    ) -> Transcript:
        """Return the group chat as a review, to be shown or written.

        Args:
            round_number: Only this round.
            trial: Only the turns that are about this trial.
            views: Whether it tells what each turn was shown when it began.
        """
        from recipelab.report.transcript import Transcript

        return Transcript(self.store, self.record, round_number, trial, views)

    def seen(self, trial: int) -> str:
        """Return what its proposer was shown when the turn began that proposed a trial.

        Raises:
            LineageError: There is no such trial, or it was not proposed in a turn that the
                lineage has.
        """
        turn = self.store.turn_of(self.name, trial)
        if turn is None or turn.view is None:
            raise LineageError(
                f"trial {trial} of {self.name} was proposed in no turn that the lineage has: by a "
                "person or a script, or before the lineage kept what turns are shown"
            )
        return self.store.view_text(turn.view)

    def export(
        self,
        path: str | Path,
        *,
        format_name: str | None = None,
        force: bool = False,
        head: bool = False,
    ) -> str:
        """Write the whole campaign to a file or, as a Git repository, to a folder.

        Args:
            path: Where it goes; it is there whole at the end, or not at all.
            format_name: ``jsonl``, ``csv``, ``parquet`` or ``git``; ``None`` goes by the path.
            force: Whether what an earlier export left there may be replaced.
            head: Whether the branch ``main`` of a Git repository ends at the head of the working
                line instead of at the certified trial.

        Returns:
            The name of the format.

        Raises:
            RecipelabError: The format is unknown, or the path is taken or cannot be written.
        """
        from recipelab.exchange.files import export_campaign

        return export_campaign(
            self.store, self.name, Path(path), format_name=format_name, force=force, head=head
        )


def find_home(home: Home | str | Path | None) -> Home:
    """Return the folder of papers and lineage that is meant."""
    return home if isinstance(home, Home) else Home.find(Path(home) if home else None)


def enter_store(
    home: Home, lineage: LineageStore | str | Path | None, stack: ExitStack, *, create: bool
) -> LineageStore:
    """Return the lineage that is meant; one that is opened here closes with the stack."""
    if isinstance(lineage, LineageStore):
        return lineage
    return stack.enter_context(open_lineage(home, lineage, create=create))
