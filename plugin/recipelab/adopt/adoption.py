"""Makes a task pack of a repository: look, run, run twice more, write, check.

Every step says what it found. What cannot be seen is asked, at most three times; without somebody
to ask, the defaults are taken.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from fnmatch import fnmatchcase
from pathlib import Path

from recipelab.adopt.climb import protect
from recipelab.adopt.constants import candidates
from recipelab.adopt.draft import Draft, goal_of, is_time, score_key
from recipelab.adopt.files import read_repository
from recipelab.adopt.folds import DIGEST, Folds, NoFolds, StandIn, folds_of, table_of
from recipelab.adopt.look import Entry, Survey, look, script_of
from recipelab.adopt.mending import last_lines, mend
from recipelab.adopt.running import Training, train
from recipelab.adopt.seeding import said_seed, seed_way
from recipelab.adopt.writing import write_draft
from recipelab.campaign.pack_check import check_pack
from recipelab.campaign.pack_runs import Level, PackFinding
from recipelab.campaign.planning import open_lineage
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Trust
from recipelab.exchange.files import import_campaign
from recipelab.exchange.results_table import is_results_table
from recipelab.packs.judging_sections import Goal
from recipelab.packs.load import load_pack
from recipelab.packs.template import check_identifier
from recipelab.sandbox.choose import resolve_kind
from recipelab.sandbox.gpus import list_gpus

MOST_RUNS = 8
"""Runs of the command until it ends well; each one before mends one cause."""
ROOM = 5
"""How many times as long as it took a training may take."""
SHOWN_KEYS = 12
"""Printed names that are offered as the metric."""
_LEAST_MB = 1024
_CHECKS = ("checksum", "correct", "ok", "passed", "valid", "mismatches", "errors")
"""Printed names whose numbers say that the work was done right, where the score is a time."""

Ask = Callable[[str, str, Sequence[str]], str]
"""Asks a question with a default and the offered answers; returns the answer."""


@dataclass(frozen=True)
class Wishes:
    """What the user has said; all but the path may be left out.

    Attributes:
        path: The repository's folder, or the script that trains.
        command: The command that trains, from that folder.
        metric: The name under which the score is printed.
        goal: Which way it is better.
        edit: Globs of the files that agents may change.
        fixed: Globs of files that they may not.
        data: Files and folders of data.
        target: Column of answers of a table whose rows the evaluator deals into folds.
        seed_arg: The option that takes the seed.
        seed_env: The variable that takes it.
        seed_constant: Its place in the code, ``FILE:LINE``.
        seconds: Time that a training may take.
        level: How far the score is to be believed: self-reported or protected.
        name: Name of the pack.
        packs: The folder that holds packs.
        sandbox: Kind of the sandbox.
        slots: Phases at the same time.
        home: Where the lineage is, to which a table of past experiments is added.
        share_devices: Whether its runs may share devices with those of campaigns.
    """

    path: Path
    command: str | None = None
    metric: str | None = None
    goal: Goal | None = None
    edit: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    target: str | None = None
    seed_arg: str | None = None
    seed_env: str | None = None
    seed_constant: str | None = None
    seconds: float | None = None
    level: Trust = Trust.SELF_REPORTED
    name: str | None = None
    packs: Path = Path("task_packs")
    sandbox: str = "auto"
    slots: int | None = None
    home: Path | None = None
    share_devices: bool = False


@dataclass
class Adopted:
    """How an adoption ended.

    Attributes:
        folder: The pack's folder.
        draft: What the pack was written from.
        questions: How many questions were asked.
        findings: What the check of the pack found.
        trial_seconds: Seconds of training in a trial, over all its seeds.
        smallest_gain: The smallest gain that a campaign can claim, in the metric's unit; ``None``
            if that is unknown.
        trust: How far the score can be believed.
        prior: Campaign that a table of past experiments was imported as; ``None`` without one.
        seconds: How long the adoption took.
    """

    folder: Path
    draft: Draft
    questions: int
    findings: list[PackFinding] = field(default_factory=list[PackFinding])
    trial_seconds: float = 0.0
    smallest_gain: float | None = None
    trust: Trust = Trust.SELF_REPORTED
    prior: str | None = None
    seconds: float = 0.0

    @property
    def errors(self) -> int:
        """How many findings keep a campaign from working."""
        return sum(finding.level is Level.ERROR for finding in self.findings)


class Adoption:
    """One adoption, step by step.

    Args:
        wishes: What the user has said.
        ask: Asks what cannot be seen.
        say: Called with a line for people on each step.
    """

    def __init__(self, wishes: Wishes, *, ask: Ask, say: Callable[[str], None]) -> None:
        self._wishes = wishes
        self._asked = 0
        self._ask_person = ask
        self._tell = say
        self._told: set[str] = set()

    async def run(self) -> Adopted:
        """Adopt the repository.

        Raises:
            RecipelabError: The command fails and nothing mends it, or a wish cannot be fulfilled;
                no pack is left then.
        """
        began = time.monotonic()
        draft, folder = self._begin()
        try:
            first = await self._run_until_well(draft, folder)
            self._choose_metric(draft, first)
            await self._run_twice_more(draft, folder, first)
            self._choose_files(draft)
            await self._make_folds(draft, folder)
            write_draft(draft, folder)
            if self._wishes.level is Trust.PROTECTED and not draft.protected:
                self._say_held(protect(str(folder))[1])
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        adopted = Adopted(folder, draft, self._asked, prior=self._import_past(draft))
        await self._check(adopted)
        adopted.seconds = time.monotonic() - began
        return adopted

    def _say(self, text: str) -> None:
        """Say a thing once: each run of the command opens a sandbox that has the same to say."""
        if text not in self._told or text.startswith("ran "):
            self._told.add(text)
            self._tell(text)

    def _begin(self) -> tuple[Draft, Path]:
        """Look at the repository, and return the draft and its folder."""
        wishes = self._wishes
        root = wishes.path if wishes.path.is_dir() else wishes.path.parent
        if not wishes.path.exists():
            raise RecipelabError(f"{wishes.path}: no such file or folder")
        survey = look(read_repository(root, wishes.data))
        name = wishes.name or score_key(survey.repository.root.name)
        check_identifier(name)
        folder = (wishes.packs / name).absolute()
        if folder.exists():
            raise RecipelabError(f"{folder} exists already; choose another --name, or move it away")
        self._say_survey(survey)
        entry = self._entry(survey)
        draft = Draft(name, survey, entry, list(survey.repository.data))
        draft.editable = survey.editable(entry)
        draft.train_seconds = wishes.seconds or draft.train_seconds
        draft.seed = seed_way(
            draft, option=wishes.seed_arg, variable=wishes.seed_env, place=wishes.seed_constant
        )
        self._say(f"command: {draft.command} ({entry.why})")
        self._say(f"seed: {draft.seed.words}")
        if "cuda" in survey.notes() and (gpus := list_gpus()):
            draft.gpus, draft.sandbox = 1, "cuda"
            self._say(f"GPU: one of {len(gpus)}")
        if survey.is_autoresearch:
            draft.trust, draft.protected = Trust.PROTECTED, {"prepare.py": ()}
        return draft, folder

    def _say_survey(self, survey: Survey) -> None:
        files = survey.repository
        how = "known to Git" if files.by_git else "found"
        self._say(f"files: {len(files.texts)} of code, {how}")
        for place in files.data:
            what = f"folder, {place.files} files" if place.folder else "file"
            self._say(f"data: {place.target} ({what}, {place.bytes:,} bytes)")
        for kind, lines in survey.notes().items():
            more = f", and {len(lines) - 1} more" if len(lines) > 1 else ""
            self._say(f"{kind}: {lines[0]}{more}")

    def _entry(self, survey: Survey) -> Entry:
        texts = survey.repository.texts
        if (command := self._wishes.command) is not None:
            return Entry(command, script_of(command, texts), "as you said")
        if self._wishes.path.is_file():
            script = self._wishes.path.name
            found = [entry for entry in survey.entries if entry.path == script]
            return found[0] if found else Entry(f"python {script}", script, "as you said")
        if not survey.entries:
            raise RecipelabError(
                f"{survey.repository.root}: no script that trains; name the command, as with "
                "--command 'python train.py'"
            )
        offered = [entry.command for entry in survey.entries[:8]]
        told = sum(entry.from_readme for entry in survey.entries)
        if len(offered) == 1 or survey.is_autoresearch or told == 1:
            return survey.entries[0]
        answer = self._asks("Which command trains?", offered[0], offered)
        known = {entry.command: entry for entry in survey.entries}
        return known.get(answer) or Entry(answer, script_of(answer, texts), "as you said")

    async def _run_until_well(self, draft: Draft, folder: Path) -> Training:
        """Run the command, and mend what can be mended, until it ends well."""
        kind = resolve_kind(self._wishes.sandbox, allow_local_fallback=True)
        for _ in range(MOST_RUNS):
            training = await self._train(draft, folder, 1)
            if training.ok:
                return training
            found = mend(draft, training.result, kind=kind)
            if not found.done:
                raise RecipelabError(f"{found}\n{last_lines(training.result.log)}")
            self._say(f"mended: {found}")
            if not any(str(found.cause) in note for note in draft.notes):
                draft.notes.append(f"{found.cause[0].upper()}{found.cause[1:]}: {found.remedy}.")
        raise RecipelabError(
            f"the command still fails after {MOST_RUNS} mends\n{last_lines(training.result.log)}"
        )

    async def _train(self, draft: Draft, folder: Path, seed: int) -> Training:
        training = await train(
            draft,
            folder,
            seed,
            sandbox=self._wishes.sandbox,
            slots=self._wishes.slots,
            share_devices=self._wishes.share_devices,
            say=self._say,
        )
        if training.ok:
            self._say(f"ran with seed {seed}: {training.result.wall_seconds:.2f} s")
        return training

    def _choose_metric(self, draft: Draft, training: Training) -> None:
        numbers = training.numbers()
        wanted = self._wishes.metric
        if not numbers:
            raise RecipelabError(
                "the command ended well and printed no number under a name, as 'val_loss: 1.23'; "
                f"print the score\n{last_lines(training.text)}"
            )
        if wanted is not None and _found(wanted, numbers) is None:
            raise RecipelabError(
                f"--metric: the command printed no {wanted!r}; it printed: "
                f"{', '.join(list(numbers)[: SHOWN_KEYS * 2])}"
            )
        if wanted is None:
            offered = list(numbers)[:SHOWN_KEYS]
            wanted = self._asks("Which number is the score?", offered[0], offered)
            if _found(wanted, numbers) is None:
                raise RecipelabError(f"the command printed no {wanted!r}")
        draft.metric = wanted
        draft.goal = self._wishes.goal or goal_of(wanted)
        self._say(f"metric: {wanted} = {_found(wanted, numbers):.6g}, {draft.goal}")

    async def _run_twice_more(self, draft: Draft, folder: Path, first: Training) -> None:
        """Run the same seed again, and another one: what does the seed change?"""
        again, other = [await self._train(draft, folder, seed) for seed in (1, 2)]
        runs = (first, again, other)
        for run in runs:
            if not run.ok:
                raise RecipelabError(
                    f"the command fails when it runs again\n{last_lines(run.result.log)}"
                )
        scores = [_found(draft.metric, run.numbers()) for run in runs]
        for text in said_seed(draft, scores):
            self._say(text)
            draft.notes.append(f"{text[0].upper()}{text[1:]}")
        if is_time(draft.metric):
            draft.constant = _constant(runs)
        same = len(set(scores)) == 1
        draft.deterministic = same and not is_time(draft.metric)
        self._measure(draft, runs)
        if draft.seed.kind == "constant":
            self._say_patch(draft)

    def _measure(self, draft: Draft, runs: Sequence[Training]) -> None:
        """Set budgets and limits to what was seen, with room."""
        walls = [run.result.wall_seconds for run in runs]
        draft.measured_seconds = statistics.median(walls)
        if self._wishes.seconds is None:
            draft.train_seconds = ROOM * max(walls)
        peaks = [run.result.peak_memory_mb or 0.0 for run in runs]
        if max(peaks) > 0:
            draft.memory_mb = max(_LEAST_MB, int(4 * max(peaks)))
        draft.output_mb = max(draft.output_mb, int(4 * max(run.output_mb for run in runs)))

    def _say_patch(self, draft: Draft) -> None:
        before = draft.survey.repository.texts[draft.seed.path].split("\n")
        after = draft.text(draft.seed.path).split("\n")
        lines = unified_diff(before, after, "yours", "the pack's copy", n=0, lineterm="")
        self._say("\n".join(("seed, in the pack's copy alone:", *lines)))

    def _choose_files(self, draft: Draft) -> None:
        """Choose what agents may change, and find the knobs in it."""
        survey, wishes = draft.survey, self._wishes
        files = tuple(survey.repository.texts)
        if wishes.edit:
            chosen = tuple(path for path in files if _matches(path, wishes.edit))
            if not chosen:
                raise RecipelabError(
                    f"--edit: no file matches {', '.join(wishes.edit)}; files: "
                    f"{', '.join(files[:20])}"
                )
        else:
            chosen = ("train.py",) if survey.is_autoresearch else survey.editable(draft.entry)
            if not survey.is_autoresearch:
                answer = self._asks("Which files may agents change?", " ".join(chosen), ())
                chosen = tuple(path for path in files if _matches(path, answer.split())) or chosen
        held = (*wishes.fixed, *draft.protected)
        draft.editable = tuple(path for path in chosen if not _matches(path, held))
        if not draft.editable:
            raise RecipelabError("--fixed: it leaves no file that agents may change")
        texts = {path: draft.text(path) for path in draft.editable}
        draft.knobs = candidates(
            texts,
            draft.editable,
            survey.facts,
            network=draft.network,
            command=draft.entry.command,
        )
        self._say(f"agents may change: {', '.join(draft.editable)}")
        self._say(f"knobs: {len(draft.knobs)} in knobs.toml")

    async def _make_folds(self, draft: Draft, folder: Path) -> None:
        """Have the evaluator make the folds of a script that cross-validates, if that is safe."""
        lines = draft.survey.notes().get("folds", ())
        reached = draft.survey.reached(draft.entry.path, draft.entry.command)
        paths = list(dict.fromkeys(line.path for line in lines if line.path in reached))
        if not paths or draft.trust is not Trust.SELF_REPORTED:
            return
        if self._wishes.level is not Trust.SELF_REPORTED:
            self._say("folds: stay in the script, whose functions are held as --level asks")
            return
        try:
            if len(paths) > 1:
                raise NoFolds(f"several files make folds: {', '.join(paths)}")
            text, target = draft.text(paths[0]), self._wishes.target
            folds = folds_of(paths[0], text, draft.data, draft.metric, target)
            draft.measured_seconds = await self._try_fold(draft, folds, folder)
        except NoFolds as refused:
            told = f"folds: stay in the script: {refused}"
            self._say(told)
            draft.notes.append(f"{told[0].upper()}{told[1:]}.")
            return
        draft.folds, draft.trust, draft.deterministic = folds, Trust.ISOLATED, False
        self._say(
            f"folds: {folds.count}, dealt by the evaluator from {folds.table.target}, and a "
            f"hold-out of the same size for verify; answers: column {folds.target}; "
            f"scored: {folds.score}"
        )

    async def _try_fold(self, draft: Draft, folds: Folds, folder: Path) -> float:
        """Return the seconds of one fold, if its predictions hang on what they should.

        Raises:
            NoFolds: They hang on the answers that are hidden, or not on those that are not.
        """
        tries: tuple[tuple[StandIn, StandIn | None], ...] = (
            (lambda answers, place: answers[place % len(answers)], None),
            (lambda answers, place: answers[-1 - place % len(answers)], None),
            (lambda answers, place: answers[0], lambda answers, place: answers[-1 - place]),
        )
        digests, seconds = [], 0.0
        others = [place for place in draft.data if place is not folds.table]
        for told, known in tries:
            with tempfile.TemporaryDirectory() as scratch:
                places = table_of(folds, Path(scratch), told=told, known=known)
                tried = replace(draft, folds=folds, tries_fold=True, data=[*others, *places])
                training = await self._train(tried, folder, 1)
            _, found, rest = training.text.rpartition(DIGEST)
            if not training.ok or not found:
                lines = last_lines(training.result.log)
                raise NoFolds(f"the script fails on one fold, or predicts nothing\n{lines}")
            digests.append(rest.split()[0])
            seconds = training.result.wall_seconds
        if digests[0] != digests[1]:
            raise NoFolds(
                f"its predictions hang on the hidden answers, if those are column {folds.target}: "
                "it may stop early on the fold that is held out, scale by all rows, or shuffle "
                "them; use the training rows alone, or name the column with --target"
            )
        if digests[0] == digests[2]:
            raise NoFolds(
                f"its predictions do not hang on column {folds.target}; name that of the answers "
                "with --target"
            )
        return seconds

    def _import_past(self, draft: Draft) -> str | None:
        """Import the table of past experiments of autoresearch's layout, if there is one."""
        table = draft.survey.repository.root / "results.tsv"
        if not is_results_table(table):
            return None
        name = f"{draft.name}-results"
        try:
            with open_lineage(Home.find(self._wishes.home), create=True) as store:
                imported = import_campaign(store, table, name)
        except RecipelabError as error:
            self._say(f"results.tsv: not imported: {error}")
            return None
        count = len(imported.copy.trials)
        self._say(f"results.tsv: {count} experiments, as campaign {name}; use it by --prior {name}")
        return name

    def _say_held(self, held: Mapping[str, Sequence[str]]) -> None:
        for path, names in held.items():
            self._say(f"held as they are: {path}: {', '.join(names) or 'the whole file'}")

    async def _check(self, adopted: Adopted) -> None:
        pack = load_pack(str(adopted.folder))
        adopted.trust = pack.trust
        adopted.trial_seconds = adopted.draft.measured_seconds * len(pack.seeds)
        async for finding in check_pack(
            pack,
            sandbox=self._wishes.sandbox,
            slots=self._wishes.slots,
            share_devices=self._wishes.share_devices,
            say=self._say,
        ):
            adopted.findings.append(finding)
            if finding.level is not Level.OK:
                self._say(f"{finding.level}: {finding.what}: {finding.text}")
            if finding.what == "noise":
                adopted.smallest_gain = finding.value

    def _asks(self, question: str, default: str, offered: Sequence[str]) -> str:
        self._asked += 1
        return self._ask_person(question, default, offered).strip() or default


def _found(key: str, numbers: dict[str, float]) -> float | None:
    """Return the number under a name, or under one that ends with it, as the scorer finds it."""
    if key in numbers:
        return numbers[key]
    near = [name for name in numbers if name.endswith((f" {key}", f".{key}"))]
    return numbers[near[0]] if near else None


def _constant(runs: Sequence[Training]) -> dict[str, float]:
    """Return the printed numbers that say the work was done right, the same in every run."""
    tables = [run.numbers() for run in runs]
    return {
        key: value
        for key, value in tables[0].items()
        if any(word in score_key(key).split("_") for word in _CHECKS)
        and all(table.get(key) == value for table in tables)
    }


def _matches(path: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(path, glob.removeprefix("./")) for glob in globs)
