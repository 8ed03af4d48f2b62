"""Writes a trial as somebody can use it: its recipe, what it has learned, and how to predict."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from recipelab.core.errors import RecipelabError
from recipelab.evaluation.artifacts import ArtifactStore, TrainedArtifact
from recipelab.exchange.replacing import check_paths, replacing
from recipelab.packs.pack import Pack

ARTIFACT = "artifact"
"""The folder in which predict finds what train left."""


def write_artifact(
    files: Mapping[str, str],
    pack: Pack,
    store: Path,
    number: int,
    folder: Path,
    *,
    campaign: str,
    force: bool,
) -> None:
    """Write recipe, artifact and a README with the command; see :meth:`Campaign.export_artifact`.

    Args:
        files: The trial's recipe: path to text.
        pack: Knows how to predict.
        store: Folder of the campaign's artifacts.
        number: The trial.
        folder: Where it goes; it is there whole at the end, or not at all.
        campaign: Name of the campaign.
        force: Whether a file that is there may be replaced.
    """
    kept = ArtifactStore(store)
    artifact = kept.of(number)
    if artifact is None:
        there = ", ".join(map(str, kept.trials())) or "(none)"
        raise RecipelabError(
            f"no artifact of trial {number} is kept; valid: {there}. By default those of the best "
            "are kept; keep all from now on: recipelab resume --keep-artifacts all"
        )
    check_paths(files, number)
    with replacing(folder, force=force) as place:
        own = pack.folder()
        for path, text in files.items():
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(own.bytes_of(path, text))
        for path, source in own.carried.items():
            if path in files:
                continue
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, file)
        shutil.copytree(artifact.folder, place / ARTIFACT)
        readme = place / "README.md"
        readme.write_text(_readme(pack, artifact, number, campaign), "utf-8")


def _readme(pack: Pack, artifact: TrainedArtifact, number: int, campaign: str) -> str:
    spec = pack.phases.predict
    seen = [f"`{target}` (as the pack's `{file}`)" for target, file in sorted(spec.data.items())]
    if pack.phases.prepare is not None and pack.phases.prepare.rounds:
        seen.append("`inputs/` (as the pack's evaluator prepares them)")
    wanted = f" It reads {', '.join(seen)}: put yours there." if seen else ""
    return f"""# {pack.title}: trial {number} of {campaign}

What a training with seed {artifact.seed} left is in `{ARTIFACT}/` (SHA-256 of its files together:
{artifact.digest}), the recipe in `{pack.recipe.folder}/`. Predict with it from this folder:

    mkdir -p out && {_command(pack, artifact.seed)}

What it predicts is in `out/` then.{wanted}
"""


def _command(pack: Pack, seed: int) -> str:
    """Return the command of predict as a shell takes it, in its folder and with its variables."""
    spec = pack.phases.predict
    words = [word.replace("{seed}", str(seed)) for word in spec.command]
    given = [
        f"{name}={value.replace('{seed}', str(seed))}" for name, value in spec.environment.items()
    ]
    line = shlex.join(["env", *given, *words] if given else words)
    return f"cd {shlex.quote(spec.workdir)} && {line}" if spec.workdir else line
