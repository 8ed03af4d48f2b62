"""The wheels of an image: whether they can be had, and how they get into its build.

pip runs on the host, so that the user's own configuration (mirrors, certificates, find-links)
holds; a build in a container would know nothing of it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from recipelab.core import content
from recipelab.core.errors import RecipelabError
from recipelab.sandbox.kernels import unavailable_kernels
from recipelab.sandbox.spec import ImageSpec

# pip takes each tag literally, and the packages of CUDA are spread over many of them. Debian 12,
# which the usual base images are made of, has glibc 2.36. Wheels that were built for one system, as
# FlashAttention's, carry Linux' bare tag.
_TAGS = (*(f"manylinux_2_{minor}" for minor in range(36, 16, -1)), "manylinux2014", "linux")

_PIP_OF_DRY_RUNS = (23, 3)
"""Older ones download every wheel whole in a dry run."""

_ANSWER_SECONDS = 15
_SHOWN_LINES = 15
_REASON_CHARACTERS = 300

_NO_MATCH = re.compile(
    r"^ERROR: No matching distribution found for (?P<what>.+?)(?P<parent> \(from [^()]+\))?$",
    re.MULTILINE,
)
_VERSIONS = re.compile(r"\(from versions: (?P<versions>.+)\)$", re.MULTILINE)
_ERROR = re.compile(r"^(?:ERROR:|\u00d7) (?P<text>.+)$", re.MULTILINE)
_MISUSED = re.compile(r"^pip: error: (?P<text>.+)$", re.MULTILINE)
_CONFLICT = re.compile(r"^The conflict is caused by:\n(?P<lines>(?: +\S.*\n)+)", re.MULTILINE)
_OTHER_TAGS = re.compile(r"none of the wheel's tags \((?P<tags>[^)]+)\) are compatible")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")

_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ", re.MULTILINE)
_PLACES = re.compile(
    r"^\d+ location\(s\) to search for versions of (?P<name>[^\s:]+):\n(?P<places>(?:\* \S+\n)*)",
    re.MULTILINE,
)
_NOT_FETCHED = re.compile(
    r"^Could not fetch URL (?P<place>\S+): (?P<why>.+?) - skipping$", re.MULTILINE
)
_ANSWERS_NO = re.compile(r"\b(?:404|410) Client Error")
_NO_ANSWER = re.compile(
    r"Max retries exceeded|connection (?:broken|error)|[Ff]ailed to (?:connect|establish|resolve)|"
    r"name resolution|timed out|CERTIFICATE|error (?!404|410)[45]\d\d\b|"
    r"\b(?!404|410)[45]\d\d (?:Client|Server) Error"
)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class UnmetRequirement:
    """A requirement for which no wheel was found.

    Attributes:
        requirement: The requirement, as ``requirements.txt`` writes it.
        reason: Why, in one line.
    """

    requirement: str
    reason: str


@dataclass(frozen=True)
class Resolution:
    """Whether the wheels of an image can be had, as far as the indexes answered.

    Attributes:
        packages: What would be installed, as ``torch==2.13.0``, in the order of names.
        missing: Requirements that cannot be had: all places that might have them have answered.
        unproved: Requirements of which nothing is known, because a place that might have them did
            not answer: an index, the page of a ``--find-links``, or a direct address; and kernels
            that cannot be had.
    """

    packages: tuple[str, ...]
    missing: tuple[UnmetRequirement, ...] = ()
    unproved: tuple[UnmetRequirement, ...] = ()


@dataclass(frozen=True)
class _DryRun:
    """What pip said of some requirements.

    Attributes:
        code: Exit code.
        printed: What pip printed.
        log: Its own log, which has more.
        packages: What it would install.
    """

    code: int
    printed: str
    log: str
    packages: tuple[str, ...] = ()

    @property
    def not_found(self) -> str | None:
        """Name of the package of which no wheel was found, if that was the fault."""
        found = _NO_MATCH.search(self.printed)
        return _name(found["what"]) if found else None

    def culprit(self, requirements: Sequence[str]) -> str | None:
        """Return the requirement that itself cannot be had, if that was the fault."""
        found = _NO_MATCH.search(self.printed)
        if found is None:
            addresses = (line for line in requirements if "://" in line)
            return next((one for one in addresses if one.split()[-1] in self.printed), None)
        if found["parent"]:
            return None
        name = _name(found["what"])
        named = [line for line in requirements if _name(line) == name]
        return named[0] if len(named) == 1 else None

    def no_answer(self) -> str | None:
        """Return the place that might have what is missing and did not answer, and why."""
        if self.not_found is None:
            found = next((e["text"] for e in _ERROR.finditer(self.printed)), "")
            return found if _NO_ANSWER.search(found) else None
        silent = {
            found["place"]: found["why"]
            for found in _NOT_FETCHED.finditer(self.log)
            if not _ANSWERS_NO.search(found["why"])
        }
        for asked in _PLACES.finditer(self.log):
            if _name(asked["name"]) == self.not_found:
                for place in re.findall(r"\* (\S+)$", asked["places"], re.MULTILINE):
                    if place in silent:
                        return f"{place} does not answer: {silent[place]}"
        return None

    def reason(self, spec: ImageSpec) -> str:
        """Return why a requirement cannot be had."""
        if self.not_found is None:
            if conflict := _CONFLICT.search(self.log):
                return "; ".join(line.strip() for line in conflict["lines"].splitlines())
            errors = [found["text"] for found in _ERROR.finditer(self.printed)]
            return errors[0] if errors else f"pip ended with exit code {self.code}"
        text = f"no wheel of {self.not_found} for Python {spec.python} on {platform.machine()}"
        versions = _VERSIONS.search(self.printed)
        if versions and versions["versions"] != "none":
            return f"{text} in the version asked for; there are {versions['versions']}"
        tags = sorted({found["tags"] for found in _OTHER_TAGS.finditer(self.log)})
        return f"{text}; there are wheels for {', '.join(tags)}" if tags else text


def resolve_requirements(spec: ImageSpec) -> Resolution:
    """Look for a wheel of every requirement of an image, and of what those require in turn.

    Metadata is read, and no wheel is downloaded, unless a server can only send whole files. It
    takes some seconds, and is tried again without each requirement that cannot be had.

    Args:
        spec: The image.

    Raises:
        RecipelabError: pip cannot be run, or cannot read the options in the requirements.
    """
    options, left = _requirements(spec)
    unmet: dict[bool, list[UnmetRequirement]] = {True: [], False: []}
    packages: tuple[str, ...] = ()
    dry_run = partial(_dry_run, spec, _pip_of_dry_runs(), options)
    while left:
        together = dry_run(left)
        packages = together.packages
        if together.code == 0:
            break
        if culprit := together.culprit(left):
            failed = {culprit: together}
        else:
            alone = {line: dry_run([line]) for line in left}
            failed = {line: run for line, run in alone.items() if run.code}
            # Each can be had, and all at once cannot.
            failed = failed or {", ".join(left): together}
        for line, run in failed.items():
            silent = run.no_answer()
            reason = (silent or run.reason(spec))[:_REASON_CHARACTERS]
            unmet[silent is None].append(UnmetRequirement(line, reason))
        gone = failed if failed.keys() <= set(left) else left
        left = [line for line in left if line not in gone]
    # An image is built without a kernel that cannot be had, so that is no fault of it.
    for name, reason in unavailable_kernels(spec.kernels, platform.machine()).items():
        unmet[False].append(UnmetRequirement(f"kernel {name}", reason))
    return Resolution(packages, missing=tuple(unmet[True]), unproved=tuple(unmet[False]))


def _name(requirement: str) -> str:
    """Return the normalized name of the package that a requirement begins with."""
    found = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def _requirements(spec: ImageSpec) -> tuple[list[str], list[str]]:
    """Return the options in a file of requirements, and the requirements, without comments."""
    text = re.sub(r"\\\n", "", spec.requirements.read_text("utf-8"))
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    options = [line for line in lines if line.startswith("-")]
    return options, [line for line in lines if line and line not in options]


def _dry_run(
    spec: ImageSpec, pip: Sequence[str], options: Sequence[str], requirements: Sequence[str]
) -> _DryRun:
    """Let pip resolve requirements.

    Raises:
        RecipelabError: pip did not understand the options.
    """
    with tempfile.TemporaryDirectory() as top:
        asked, report, log = (Path(top, name) for name in ("requirements.txt", "report", "log"))
        asked.write_text("\n".join([*options, *requirements, ""]), "utf-8")
        command = [*pip, "install", "--dry-run", "--ignore-installed", f"--target={top}/target"]
        command += ["--use-feature=fast-deps", f"--report={report}", f"--log={log}", "--quiet"]
        command += [f"--timeout={_ANSWER_SECONDS}", "--retries=1", *_selection(spec), "-r"]
        ended = _run([*command, str(asked)])
        if misused := _MISUSED.search(ended.stdout):
            raise RecipelabError(f"{spec.requirements}: {misused['text']}")
        text = _STAMP.sub("", log.read_text("utf-8", errors="replace")) if log.exists() else ""
        if ended.returncode:
            return _DryRun(ended.returncode, ended.stdout, text)
        found = (item["metadata"] for item in json.loads(report.read_bytes())["install"])
        packages = sorted(f"{one['name']}=={one['version']}" for one in found)
        return _DryRun(0, ended.stdout, text, tuple(packages))


def _pip_of_dry_runs() -> list[str]:
    """Return the command of a pip whose dry runs download no wheels: the host's own if it is new.

    Raises:
        RecipelabError: There is no pip, or a newer one is needed and cannot be had.
    """
    own = [sys.executable, "-m", "pip"]
    try:
        installed = version("pip")
    except PackageNotFoundError:
        raise RecipelabError(f"{sys.executable} has no pip, which looks for packages") from None
    if tuple(map(int, installed.split(".")[:2])) >= _PIP_OF_DRY_RUNS:
        return own
    wanted = f"pip>={'.'.join(map(str, _PIP_OF_DRY_RUNS))}"

    def fill(folder: Path) -> None:
        command = [*own, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input"]
        run_tool(
            [*command, f"--dest={folder}", wanted],
            f"dry runs need {wanted} (this Python's is {installed}), and pip could not download it",
        )

    folder = _filled_once(content.cache_root() / "pip" / wanted.removeprefix("pip>="), fill)
    # pip runs out of its own wheel.
    return [sys.executable, str(next(folder.glob("pip-*.whl")) / "pip")]


def download_wheels(spec: ImageSpec, progress: Progress) -> Path:
    """Return the folder with the wheels of an image; download them if they are not in the cache.

    Args:
        spec: The image.
        progress: Called with lines for people.

    Raises:
        RecipelabError: pip failed; its last lines are in the message.
    """
    key = f"{spec.requirements.read_text()}|{spec.python}|{platform.machine()}"
    final = content.cache_root() / "wheels" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if final.is_dir():
        progress(f"wheels: in the cache, {final}")
        return final
    progress(f"wheels: downloading to {final}")

    def fill(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", *_selection(spec)]
        run_tool(
            [*command, f"--dest={folder}", "-r", str(spec.requirements)],
            f"pip could not download what {spec.requirements} asks for "
            "(is pip installed, and does its configuration reach an index?)",
        )

    return _filled_once(final, fill)


def _selection(spec: ImageSpec) -> list[str]:
    """Return pip's options that select the wheels of an image."""
    tags = [f"--platform={tag}_{platform.machine()}" for tag in _TAGS]
    python = f"--python-version={spec.python}"
    return ["--only-binary=:all:", "--no-input", "--implementation=cp", python, *tags]


def _filled_once(final: Path, fill: Callable[[Path], None]) -> Path:
    """Return a folder of the cache; fill it if it is not there. It is there whole or not at all."""
    if final.is_dir():
        return final
    content.make_private(final.parent)
    filling = Path(tempfile.mkdtemp(prefix="partial-", dir=final.parent))
    try:
        fill(filling)
        try:
            filling.rename(final)
        except OSError:
            if not final.is_dir():  # Otherwise another process was faster; its files are the same.
                raise
    finally:
        shutil.rmtree(filling, ignore_errors=True)
    return final


def run_tool(command: Sequence[str], failure: str) -> None:
    """Run a program of the host.

    Args:
        command: The command line.
        failure: What to say if it fails.

    Raises:
        RecipelabError: It failed; the message is ``failure``, with the last lines that it printed.
    """
    ended = _run(command)
    if ended.returncode:
        raise RecipelabError(f"{failure}:\n{_last_lines(ended.stdout)}")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program of the host; what it prints to both of its streams is in ``stdout``."""
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, errors="replace"
    )


def _last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-_SHOWN_LINES:])
