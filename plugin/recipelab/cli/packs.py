"""``recipelab packs``: list, search, show, write, check, rehearse, fetch and lock task packs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from recipelab.cli.common import (
    FAILED,
    AsJson,
    SandboxOption,
    ShareDevices,
    Slots,
    clear_errors,
    out,
    print_json,
    run_stoppable,
    say,
    slot_count,
)
from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain

if TYPE_CHECKING:
    from recipelab.campaign.pack_runs import PackFinding
    from recipelab.packs.catalog import PackEntry
    from recipelab.packs.pack import Pack
    from recipelab.packs.sections import Upstream

packs_app = typer.Typer(
    help="Task packs: list, search, show, write, check, rehearse, fetch and lock."
)

PackName = Annotated[str, typer.Argument(metavar="PACK", help="Name of a pack, or its folder.")]
Profile = Annotated[str | None, typer.Option(help="Profile; default the pack's.")]
MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "error": ("error  ", "red")}


@packs_app.callback(invoke_without_command=True)
def packs(context: typer.Context, as_json: AsJson = False) -> None:
    """Task packs; without a command, the list."""
    if context.invoked_subcommand is None:
        list_packs(as_json)


@packs_app.command("list")
def list_packs(as_json: AsJson = False) -> None:
    """List the task packs that can be found from here."""
    from recipelab.packs.load import load_pack, pack_names

    with clear_errors():
        found = [load_pack(name) for name in pack_names()]
        if as_json:
            print_json([{"pack": p.name, "title": p.title, "profile": p.profile} for p in found])
            return
        for pack in found:
            out.print(Text(plain(f"{pack.name} ({pack.profile}): {pack.title}")))


@packs_app.command("show")
def show(name: PackName, profile: Profile = None, as_json: AsJson = False) -> None:
    """Show a pack: what is measured, limits, surfaces, data."""
    from recipelab.packs.load import load_pack

    with clear_errors():
        facts = _facts(load_pack(name, profile))
        if as_json:
            print_json(facts)
            return
        for key, value in facts.items():
            words = "\n".join(value) if isinstance(value, list) else str(value)
            out.print(Text(plain(f"{key}:"), style="bold"), Text(plain(words)), soft_wrap=True)


@packs_app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the pack.")],
    title: Annotated[str | None, typer.Option(help="What it is about, in a line.")] = None,
    metric: Annotated[str | None, typer.Option(help="Name of the metric.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where packs are, or where the repository goes.")
    ] = None,
    repository: Annotated[
        bool, typer.Option("--repository", help="Write a Git repository around it, to publish it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a pack that works as it is: a recipe, an evaluator, data, a test."""
    from recipelab.packs.repository import PackRepository
    from recipelab.packs.template import PackDraft, check_identifier, write_pack

    with clear_errors():
        check_identifier(name)
        draft = PackDraft(
            name,
            title or _asked("What is it about, in a line?", f"The task {name}"),
            metric or _asked("What is the metric called? Less is better.", "error"),
        )
        if repository:
            around = PackRepository(draft)
            place = (folder or Path()) / around.distribution
            files, pack = around.write(place), place / "src" / around.package / name
        else:
            place = pack = (folder or Path("task_packs")) / name
            files = write_pack(draft, place)
        if as_json:
            print_json({"pack": name, "folder": str(place), "files": list(files)})
            return
        for file in files:
            out.print(Text(str(place / file)))
        out.print(f"Check it with: recipelab packs check {pack}", markup=False)


@packs_app.command("search")
def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Words in name, title, description, metric or surfaces; all of them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search the packs that are installed here: whose each is, what it needs, how far to trust it.

    Packs that other distributions bring are found by their entry points. Exit code 1 if none is.
    """
    from recipelab.packs.catalog import search_packs

    with clear_errors():
        found = search_packs(words or ())
        if as_json:
            print_json([_entry_facts(entry) for entry in found])
        else:
            for entry in found:
                _print_entry(_entry_facts(entry))
    if not found:
        say(f"no pack has all of: {' '.join(words or ())}")
        raise typer.Exit(FAILED)


def _entry_facts(entry: PackEntry) -> dict[str, Any]:
    facts = {"pack": entry.name, "from": entry.origin, "folder": str(entry.folder)}
    if entry.hidden_by is not None:
        facts["hidden_by"] = entry.hidden_by
    if entry.pack is None:
        return facts | {"problem": entry.problem}
    metric = entry.pack.metric
    return facts | {
        "title": entry.pack.title,
        "metric": f"{metric.name} ({metric.unit or 'no unit'}), {metric.goal}",
        "needs": entry.needs,
        "trust": f"{entry.pack.trust}: {entry.pack.trust_reason}",
    }


def _print_entry(facts: dict[str, Any]) -> None:
    head = Text(plain(facts.pop("pack")), style="bold")
    head.append(plain(f" from {facts.pop('from')}"), style="none")
    out.print(head, soft_wrap=True)
    for key, value in facts.items():
        out.print(Text(plain(f"  {key.replace('_', ' ')}: {value}")), soft_wrap=True)


@packs_app.command("check")
def check(
    name: PackName,
    profile: Profile = None,
    run: Annotated[
        bool,
        typer.Option("--run/--no-run", help="Run launcher, baseline and spoiled predictions."),
    ] = True,
    rehearsed: Annotated[
        bool, typer.Option("--rehearse", help="Rehearse the profile too; see packs rehearse.")
    ] = False,
    sandbox: SandboxOption = "auto",
    slots: Slots = "auto",
    share_devices: ShareDevices = False,
    as_json: AsJson = False,
) -> None:
    """Say whether a pack is sound: its files, image, launcher, baseline, noise, and scorer.

    Where this machine lacks what the profile needs, it says what is left to prove. Exit code 1 if
    something is wrong with the pack.
    """
    from recipelab.campaign.pack_check import check_pack
    from recipelab.campaign.rehearsal import rehearse
    from recipelab.packs.load import load_pack
    from recipelab.packs.upstream import missing_files

    found: list[PackFinding] = []

    def note(finding: PackFinding) -> None:
        found.append(finding)
        if not as_json:
            _print_finding(finding)

    async def all_checks(pack: Pack, count: int | None) -> None:
        async for finding in check_pack(
            pack,
            run=run,
            sandbox=sandbox,
            slots=count,
            share_devices=share_devices,
            rehearsed=follows,
            say=say,
        ):
            note(finding)
        if follows and not any(finding.level == "error" for finding in found):
            await rehearse(pack, found=note, sandbox=sandbox, say=say)

    with clear_errors():
        pack = load_pack(name, profile)
        if rehearsed:
            pack.rehearsed()  # Says so if the profile has no rehearsal.
        follows = rehearsed and (pack.upstream is None or not missing_files(pack.upstream))
        run_stoppable(all_checks(pack, slot_count(slots)))
    _end_with(found, as_json)


def _print_finding(finding: PackFinding) -> None:
    words = plain(f"  {finding.what}: {finding.text}")
    out.print(Text.assemble(MARKS[finding.level], words), soft_wrap=True)


def _end_with(found: list[PackFinding], as_json: bool) -> None:
    """Print how many findings are bad, or all as JSON; errors end the command with exit code 1."""
    errors, warnings = (
        sum(finding.level == level for finding in found) for level in ("error", "warning")
    )
    if as_json:
        print_json([{"level": f.level, "what": f.what, "told": f.text} for f in found])
    else:
        out.print(f"{errors} errors, {warnings} warnings")
    if errors:
        raise typer.Exit(FAILED)


@packs_app.command("rehearse")
def rehearse(
    name: PackName,
    profile: Profile = None,
    source: Annotated[Path | None, typer.Option(help="Your clone of upstream.")] = None,
    sandbox: SandboxOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Run a profile for GPUs whole on a CPU: its recipe, shrunk, on data made on the spot.

    Exit code 1 if it does not get through.
    """
    from recipelab.campaign.rehearsal import rehearse
    from recipelab.packs.load import load_pack

    found: list[PackFinding] = []

    def note(finding: PackFinding) -> None:
        found.append(finding)
        if not as_json:
            _print_finding(finding)

    with clear_errors():
        pack = load_pack(name, profile)
        run_stoppable(rehearse(pack, found=note, source=source, sandbox=sandbox, say=say))
    _end_with(found, as_json)


@packs_app.command("fetch")
def fetch(
    name: PackName,
    profile: Profile = None,
    source: Annotated[
        Path | None, typer.Option(help="Your clone of upstream, for profiles that start from one.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Look here first: by hash, also inside archives that the pack names; for files "
            "without a hash by name and size.",
        ),
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Fetch a file anew for which the pack has no hash, and forget the hash that was "
            "seen first; a pattern as 'shard_*' will do; repeatable.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Fetch a pack's upstream recipe and data, after saying how much and under which licenses."""
    from recipelab.packs.data import (
        ensure_data,
        forget_first_seen,
        is_here,
        size_here,
        size_text,
    )
    from recipelab.packs.load import load_pack

    def tell(text: str) -> None:
        out.print(Text(plain(text)), soft_wrap=True)

    with clear_errors():
        for option, folder in (("--source", source), ("--data", data)):
            if folder is not None and not folder.is_dir():
                raise RecipelabError(f"{option}: no folder {folder}")
        pack = load_pack(name, profile)
        for file in forget_first_seen(pack, forget or ()):
            tell(f"{file}: forgotten")
        if pack.upstream is not None:
            _fetch_upstream(pack.upstream, source, yes)
        missing = [item for item in pack.data if not is_here(item, pack.root)]
        for item in pack.data:
            here = item not in missing
            size = size_here(item, pack.root) if here else item.bytes
            state = "is here" if here else "to be fetched"
            tell(f"{item.file}: {size_text(size)}, {item.license}, {state}")
        size = sum(item.bytes for item in missing)
        if missing and not yes and sys.stdin.isatty():
            typer.confirm(f"Fetch {size_text(size)}?", abort=True)
        ensure_data(pack, say=tell, clone=source, folder=data)


@packs_app.command("lock")
def lock(name: PackName, profile: Profile = None, as_json: AsJson = False) -> None:
    """Write hashes and sizes of a pack's data, files and folders, into its pack.toml."""
    from recipelab.packs.load import load_pack
    from recipelab.packs.lock import lock_pack

    with clear_errors():
        locked = lock_pack(load_pack(name, profile), say=say)
        if as_json:
            print_json(
                [
                    {
                        "data": x.name,
                        "sha256": x.content.sha256,
                        "bytes": x.content.bytes,
                        "files": x.content.files,
                        "changed": x.changed,
                    }
                    for x in locked
                ]
            )
            return
        for item in locked:
            content, state = item.content, "written" if item.changed else "as it was"
            what = f"{content.files:,} files, {content.bytes:,} bytes, sha256 {content.sha256}"
            out.print(Text(plain(f"{item.name}: {what}, {state}")), soft_wrap=True)


@packs_app.command("schema")
def schema() -> None:
    """Print a JSON schema of pack.toml, for editors."""
    from recipelab.packs.load import pack_schema

    print_json(pack_schema())


def _fetch_upstream(upstream: Upstream, source: Path | None, yes: bool) -> None:
    """Take the recipe's files from the user's clone, or by git if the user agrees."""
    from recipelab.packs.upstream import missing_files, take_by_git, take_from_clone

    missing = missing_files(upstream)
    size = sum(item.bytes for item in upstream.files) / 1e3
    head = f"{upstream.name} at {upstream.commit[:12]}: {len(upstream.files)} files, {size:.1f} kB"
    state = f"{len(missing)} to be fetched" if missing else "all here"
    out.print(Text(plain(f"{head}, {upstream.license}, {state}")))
    if not missing:
        return
    if source is not None:
        take_from_clone(upstream, source)
        return
    if not yes and not sys.stdin.isatty():
        raise RecipelabError(
            f"say --yes to fetch it by git from {upstream.url}, or --source with your own clone"
        )
    if not yes:
        typer.confirm(f"Fetch it by git from {upstream.url}?", abort=True)
    take_by_git(upstream)


def _asked(question: str, default: str) -> str:
    """Ask a person; without a terminal the answer is the default."""
    if not sys.stdin.isatty():
        return default
    answer: str = typer.prompt(question, default=default)
    return answer


def _facts(pack: Pack) -> dict[str, Any]:
    from recipelab.core.knobs import find_knobs
    from recipelab.packs.data import size_text
    from recipelab.packs.load import load_playbook
    from recipelab.packs.upstream import missing_files

    here = pack.upstream is None or not missing_files(pack.upstream)
    knobs = len(find_knobs(pack.baseline().files)) if here else "known when upstream is fetched"
    metric = pack.metric
    gates = [f"{gate.rule}, else {gate.failure}" for gate in pack.gates]
    return {
        "pack": f"{pack.name} ({pack.profile}): {pack.title}",
        "description": pack.description.strip(),
        "metric": f"{metric.name} ({metric.measure}, {metric.goal})",
        "gates": gates,
        "seeds": f"{len(pack.seeds)} for each trial, {pack.certify.seeds} to certify",
        "acceptance": pack.acceptance.policy,
        "specialists": ", ".join(pack.specialists),
        "surfaces": [f"{item.name}: {item.description}" for item in pack.surfaces],
        "knobs": knobs,
        "plays": len(load_playbook(pack)),
        "trust": f"{pack.trust}: {pack.trust_reason}",
        "legality": [f"{rule.name} ({rule.by}): {rule.proves}" for rule in pack.legality],
        "hardware": _hardware(pack),
        "upstream": f"{pack.upstream.name} at {pack.upstream.commit}" if pack.upstream else "none",
        "data": [f"{item.file}: {size_text(item.bytes)}, {item.license}" for item in pack.data],
        "folder": str(pack.root),
    }


def _hardware(pack: Pack) -> str:
    made_for = pack.hardware
    words = f"{made_for.gpus} x {made_for.kind}" if made_for.gpus else made_for.kind
    return f"{words}; {made_for.note}" if made_for.note else words
