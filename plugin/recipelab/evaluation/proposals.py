"""Proposals: what is tried, what is refused at once, and what is no new recipe."""

from __future__ import annotations

import ast
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from recipelab.core.errors import EditError, LineageError
from recipelab.core.recipe import Recipe, syntax_error
from recipelab.core.trial import (
    Edit,
    Evidence,
    Failure,
    FailureKind,
    Outcome,
    Proposal,
    Status,
)
from recipelab.evaluation.metric import CODE_MEASURES, counts_code, growth_bytes
from recipelab.lineage import EditKeys, LineageStore, TrialRecord, keys_of
from recipelab.packs.pack import Pack
from recipelab.packs.upstream import changed_names

Approve = Callable[[TrialRecord], Awaitable[str | None]]
"""Asked before a proposal is tried: ``None`` lets it pass, a text says why it may not."""


def declined(reason: str) -> Outcome:
    """The outcome of a trial that a person did not want."""
    told = f"a person declined it: {reason or 'no reason given'}"
    failure = Failure(None, FailureKind.DECLINED, "a person declined it", told[:1_600])
    return Outcome(status=Status.REJECTED, reason=told, failure=failure)


def killed(log: str) -> Outcome:
    """The outcome of a trial that a person has ended, with what it had printed."""
    told = "a person ended it while it ran"
    failure = Failure(None, FailureKind.KILLED, told, told)
    return Outcome(status=Status.ABORTED, reason=told, failure=failure, log_tail=log)


BASELINE = 0
"""Number of the baseline trial."""

LIMITS = (Status.OVERSIZE, Status.GATE_MISSED)
"""How trials end that may have been too long, and nothing else."""

AGAIN_SHARE = 0.2
"""Trials of a campaign that may measure a recipe again, as a share of those so far; one may."""

MOST_ALIKE = 3
"""How many trials with an edit like the proposed one are told."""


@dataclass(frozen=True)
class Candidate:
    """A recipe that may be tried, with all that is computed of it on the way to its trial.

    Attributes:
        recipe: The edited recipe; its digest and meaning are computed once.
        diff: Unified diff from the parent, computed here and never claimed.
        keys: The keys of the diff, by which repeats are found.
        alike: Earlier trials with an edit like this one, a line each: no reason to refuse it.
    """

    recipe: Recipe
    diff: str
    keys: EditKeys
    alike: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """Why a proposal is not tried, and what to do about it.

    Attributes:
        kind: The kind of failure that the lineage counts it under.
        reason: What is wrong, in a sentence that names the place.
        diff: What the edits change, as far as they apply.
    """

    kind: FailureKind
    reason: str
    diff: str = ""

    def outcome(self) -> Outcome:
        """Return the rejected trial's outcome."""
        failure = Failure(None, self.kind, self.reason[:200], self.reason[:1_600])
        return Outcome(status=Status.REJECTED, reason=self.reason, failure=failure)


FindTwin = Callable[[Recipe], str | None]
"""Says which trial had a recipe, comments and layout aside, and how that ended, or ``None``."""


class ProposalChecker:
    """Checks proposals and writes them to the lineage; it runs nothing.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        pack: The campaign's pack.
        repeats: Whether a recipe may be tried that was tried before. Only a campaign whose agents
            are told nothing of past trials has that.
    """

    def __init__(
        self, store: LineageStore, campaign: str, pack: Pack, *, repeats: bool = False
    ) -> None:
        self.store = store
        self.campaign = campaign
        self.pack = pack
        self.repeats = repeats
        self._read_start: Recipe | None = None

    def recipe_of(self, number: int) -> dict[str, str]:
        """Return the files of a trial's recipe.

        Raises:
            LineageError: There is no such trial, or it was rejected and so has no recipe.
        """
        files = self.store.files(self.campaign, number)
        if not files:
            raise LineageError(f"trial {number} was rejected and has no recipe; take its parent")
        return files

    def check(self, parent: int, edits: tuple[Edit, ...]) -> Candidate | Rejected:
        """Check edits as :meth:`take` would, without recording anything.

        Raises:
            LineageError: There is no such parent.
        """
        with self.store.moment():
            files = self.recipe_of(parent)
            checked = check_edits(self.pack, files, edits, self._twin, start=self._start)
            if isinstance(checked, Rejected) or self.repeats:
                return checked
            alike = self.store.edit_alike(
                self.campaign, edits, parent, keys=checked.keys, recipe=checked.recipe.files
            )
        lines = tuple(
            f"{item.why}: trial {item.brief.number} by {item.brief.specialist}, "
            + (f"{item.brief.status} ({item.brief.reason})" if item.brief.status else "in flight")
            for item in alike[:MOST_ALIKE]
        )
        return replace(checked, alike=lines)

    def check_merged(self, onto: int, recipe: Recipe) -> Candidate | Rejected:
        """Check a recipe that a trial's change was merged into, without recording anything.

        Args:
            onto: The trial whose recipe the change was merged onto.
            recipe: The merged recipe.

        Raises:
            LineageError: There is no such trial.
        """
        parent = Recipe(self.recipe_of(onto))
        return check_recipe(self.pack, parent, recipe, self._twin, start=self._start)

    def take(
        self, proposal: Proposal, *, round_number: int | None, turn: int | None = None
    ) -> tuple[int, Candidate | Rejected]:
        """Record a proposal: one that is to be tried, or one that is rejected at once.

        Args:
            proposal: The proposal.
            round_number: The round in which it is made; ``None`` outside of rounds.
            turn: The turn in which it is made; ``None`` outside of turns.

        Returns:
            The trial's number, and what the check said.

        Raises:
            LineageError: There is no such parent.
        """
        checked = self.check(proposal.parent, proposal.edits)
        if isinstance(checked, Candidate):
            made = self._propose(proposal, checked, (proposal.parent,), round_number, turn)
            return made, checked
        number = self.store.propose_and_record(
            self.campaign,
            proposal,
            checked.outcome(),
            parents=(proposal.parent,),
            files={},
            digest="",
            diff=checked.diff,
            round_number=round_number,
            turn=turn,
        )
        return number, checked

    def take_again(
        self,
        trial: int,
        specialist: str,
        hypothesis: str,
        *,
        round_number: int | None,
        turn: int | None = None,
    ) -> tuple[int, Recipe]:
        """Record a trial that measures the recipe of an earlier one again, on fresh seeds.

        Returns:
            The number of the new trial, and the recipe.

        Raises:
            LineageError: There is no such trial, or nothing can be learned by measuring it again.
        """
        record = self.store.trial(self.campaign, trial)
        if (reason := self._why_not_again(record)) is not None:
            raise LineageError(reason)
        recipe = Recipe(self.recipe_of(trial))
        parent = record.parents[0]
        expected = (record.outcome.delta if record.outcome else None) or 0.0
        proposal = Proposal(specialist, record.surface, parent, hypothesis, expected, record.edits)
        diff = Recipe(self.recipe_of(parent)).diff(recipe)
        candidate = Candidate(recipe, diff, keys_of(diff))
        return self._propose(proposal, candidate, (parent,), round_number, turn), recipe

    def _why_not_again(self, record: TrialRecord) -> str | None:
        """Return why a trial is not measured again; ``None`` if it may be."""
        number, outcome = record.number, record.outcome
        if outcome is None:
            return f"trial {number} has not ended; wait for it"
        if number in (BASELINE, self.store.best_brief(self.campaign).number):
            return f"trial {number} is what others are held against; a checkpoint measures it again"
        if outcome.score is None:
            return f"trial {number} is {outcome.status} and has no score that more seeds could mend"
        evidence = outcome.evidence
        if self.pack.acceptance.deterministic or (evidence and evidence.deterministic):
            return f"trial {number} scores the same on every seed"
        tried = self.store.trial_count(self.campaign)
        most = max(1, int(AGAIN_SHARE * tried))
        if self.store.measured_again(self.campaign) >= most:
            return (
                f"{most} of {tried} trials have measured a recipe again, and at most "
                f"{AGAIN_SHARE:.0%} may: try something new"
            )
        return None

    def measured_before(self, number: int) -> TrialRecord | None:
        """Return the first trial that measured a trial's recipe; ``None`` if it is the first."""
        if self.repeats:
            return None
        digest = Recipe(self.recipe_of(number)).digest
        record = self.store.find_digest(self.campaign, digest)
        return record if record is not None and record.number < number else None

    def shared(self, number: int) -> Outcome | None:
        """Return the outcome that a trial shares with an earlier one, where recipes may repeat.

        Recipes are the same if they differ in comments and layout alone; where code counts as
        bytes, no two are. The same recipe measured twice can look better by luck; it is never a
        gain.

        Returns:
            The outcome; ``None`` if no earlier trial with its recipe has been judged.
        """
        if number == BASELINE or not self.repeats or counts_code(self.pack):
            return None
        twin = self.store.find_same(self.campaign, self.store.files(self.campaign, number))
        if twin is None or twin.number >= number or twin.outcome is None:
            return None
        status = twin.outcome.status
        reason = f"the same recipe as trial {twin.number}, whose measurements it shares"
        if status in (Status.BASELINE, Status.KEPT):
            status, reason = Status.DISCARDED, f"{reason}; it is no new gain"
        best = self.store.best_brief(self.campaign).number
        return replace(
            twin.outcome,
            status=status,
            reason=reason,
            # Its seed runs stay with the twin: they took no time again.
            seed_runs=(),
            log_tail="",
            evidence=Evidence(against=best, planned=0, screened=0, same_as=twin.number),
        )

    def take_baseline(self) -> tuple[int, Recipe]:
        """Record the starting recipe as trial 0."""
        proposal = Proposal("campaign", "baseline", -1, "the starting recipe of the pack", 0.0, ())
        candidate = Candidate(self._start, "", keys_of(""))
        return self._propose(proposal, candidate, (), None), candidate.recipe

    def renew_baseline(self) -> None:
        """Record the starting recipe as the pack has it now, as trial 0 was not measured."""
        self._read_start = None
        recipe = self._start
        self.store.begin_anew(
            self.campaign,
            BASELINE,
            files=recipe.files,
            digest=recipe.digest,
            meaning=recipe.meaning,
        )

    def _propose(
        self,
        proposal: Proposal,
        candidate: Candidate,
        parents: tuple[int, ...],
        round_number: int | None,
        turn: int | None = None,
    ) -> int:
        return self.store.propose(
            self.campaign,
            proposal,
            parents=parents,
            files=candidate.recipe.files,
            digest=candidate.recipe.digest,
            diff=candidate.diff,
            round_number=round_number,
            turn=turn,
            meaning=candidate.recipe.meaning,
            keys=candidate.keys,
        )

    @property
    def _start(self) -> Recipe:
        """The starting recipe, read once: a large one takes longer to read than to check."""
        if self._read_start is None:
            self._read_start = self.pack.baseline()
        return self._read_start

    def _twin(self, recipe: Recipe) -> str | None:
        if self.repeats:
            return None
        if record := self.store.find_digest(self.campaign, recipe.digest):
            return outcome_line(record)
        if self.pack.metric.measure in CODE_MEASURES:
            return None  # Fewer comments are a better recipe.
        # Where a gate counts bytes, one that only was too long may be tried without its comments.
        but = LIMITS if counts_code(self.pack) else ()
        if record := self.store.find_meaning(self.campaign, recipe.meaning, but=but):
            return f"{outcome_line(record)}, which differs in comments and layout alone"
        return None


def check_edits(
    pack: Pack,
    parent_files: Mapping[str, str],
    edits: Sequence[Edit],
    find_twin: FindTwin,
    *,
    start: Recipe,
) -> Candidate | Rejected:
    """Apply edits to the parent's recipe and check the result without running it.

    Args:
        pack: Says which files may be edited.
        parent_files: The parent's recipe.
        edits: The proposed edits.
        find_twin: Looks for an earlier trial with the same recipe.
        start: The pack's starting recipe.

    Returns:
        The recipe to try, or why it is not tried.
    """
    parent = Recipe(parent_files)
    try:
        recipe = parent.apply(edits, pack.recipe.editable)
    except EditError as error:
        return Rejected(FailureKind.EDIT, str(error))
    return check_recipe(pack, parent, recipe, find_twin, start=start)


def check_recipe(
    pack: Pack, parent: Recipe, recipe: Recipe, find_twin: FindTwin, *, start: Recipe
) -> Candidate | Rejected:
    """Check an edited recipe without running it.

    Args:
        pack: Says which functions are protected.
        parent: The recipe that was edited.
        recipe: The edited recipe.
        find_twin: Looks for an earlier trial with the same recipe.
        start: The pack's starting recipe.

    Returns:
        The recipe to try, or why it is not tried.
    """
    diff = parent.diff(recipe)
    if not diff:
        return Rejected(FailureKind.DUPLICATE, "the edits change nothing; propose a real change")
    if protected := _changed_protected(pack, start, recipe):
        return Rejected(FailureKind.EDIT, f"may not be changed, as it scores: {protected[0]}", diff)
    if (odd := _unwritable(pack, recipe)) is not None:
        return Rejected(FailureKind.EDIT, odd, diff)
    broken = syntax_error(recipe.files, python=pack.recipe.python)
    if broken is not None:
        return Rejected(FailureKind.SYNTAX, f"does not parse: {broken}", diff)
    if (grown := _grown(pack, start, recipe)) is not None:
        return Rejected(FailureKind.SIZE, grown, diff)
    if place := made_code(parent, recipe):
        text = f"{place}; write the code out, so that people and agents can read what is tried"
        return Rejected(FailureKind.RULE, text, diff)
    twin = find_twin(recipe)
    if twin is not None:
        return Rejected(FailureKind.DUPLICATE, f"already tried: {twin}; propose another", diff)
    return Candidate(recipe, diff, keys_of(diff))


_RUNS_TEXT = frozenset({"exec", "eval", "compile"})


def made_code(parent: Recipe, recipe: Recipe) -> str | None:
    """Return where an edit has text run as code that is not there to read, as a packed one.

    It is a rule and no defense: a recipe that hides such a call well is caught by what it measures,
    not here. What the parent has already, as upstream's own, may stay.
    """
    for path in sorted(recipe.files):
        if recipe.files[path] != parent.files.get(path):
            found = _calls_of_made_code(recipe.files[path])
            if len(found) > len(_calls_of_made_code(parent.files.get(path, ""))):
                line, name = found[-1]
                return f"{path}:{line}: {name} runs text that is made when it runs"
    return None


def _calls_of_made_code(text: str) -> list[tuple[int, str]]:
    """Return the lines and names of the calls that run a text which is no literal."""
    if not any(name in text for name in _RUNS_TEXT):
        return []
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # For a later Python than this; the sandbox will tell.
    found: list[tuple[int, str]] = []
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        function, given = node.func, node.args[0]
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            name = function.attr if function.value.id in ("builtins", "__builtins__") else ""
        else:
            name = function.id if isinstance(function, ast.Name) else ""
        is_plain = isinstance(given, ast.Constant) and isinstance(given.value, str)
        if name in _RUNS_TEXT and not is_plain:
            found.append((node.lineno, name))
    return found


def _changed_protected(pack: Pack, start: Recipe, recipe: Recipe) -> tuple[str, ...]:
    # Against the pack's own start and not the parent, so that nothing adds up over generations.
    if not pack.protected:
        return ()
    return changed_names(start.files, recipe.files, pack.protected)


def _unwritable(pack: Pack, recipe: Recipe) -> str | None:
    """Return which text its file cannot hold, as the file's encoding lacks a character."""
    odd = [path for path, text in recipe.files.items() if not text.isascii()]
    if not odd:
        return None  # Every encoding has ASCII.
    folder = pack.folder()
    for path in odd:
        try:
            folder.bytes_of(path, recipe.files[path])
        except UnicodeEncodeError as error:
            letter = error.object[error.start]
            return f"{path}: it is in {error.encoding}, which has no {letter!r}; use another"
    return None


def _grown(pack: Pack, start: Recipe, recipe: Recipe) -> str | None:
    """Return how much of a recipe is new against the starting recipe, if that is too much."""
    editable, most = pack.recipe.editable, pack.limits.recipe_growth
    growth = growth_bytes(start, recipe, editable)
    if growth <= most:
        return None
    return (
        f"the recipe has {growth:,} bytes that the starting recipe has not, compressed; "
        f"limits.recipe_growth is {most:,}: code is short, and answers or weights do not belong "
        "into it"
    )


def outcome_line(record: TrialRecord) -> str:
    """Return one line on a trial and how it ended."""
    outcome = record.outcome
    if outcome is None:
        return f"trial {record.number} by {record.specialist} is running now"
    return f"trial {record.number} by {record.specialist}: {outcome.status} ({outcome.reason})"
