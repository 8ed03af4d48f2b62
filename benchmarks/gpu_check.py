"""Ten minutes on one NVIDIA GPU: what of the full profiles can only be seen there.

    python benchmarks/gpu_check.py --out FOLDER --upstream CLONES [--wheels FOLDER] [--budget 600]

It wants PyTorch and Python 3.11 or later, and neither Docker nor a network: recipelab runs from
this copy, and what it needs besides is installed from carried wheels. The steps run one after the
other, most decisive first, each as a process with a deadline. Each leaves FOLDER/NAME.json as it
goes, and the log NAME.txt, so that one that is cut off loses nothing; summary.json has all of them.

``--shrunk`` rehearses the script on a CPU: recipes are those of ``recipelab packs rehearse``, and
what needs CUDA is skipped.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CLONES = {
    "airbench96": "cifar10-airbench",
    "nanochat_d12": "nanochat",
    "parameter_golf": "parameter-golf",
}
LOG_CHARACTERS = 3000
HOLD = "import torch, time; x = torch.zeros(3 << 28, device='cuda'); print('held'); time.sleep(60)"
ONE_RANK = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1")


class Skipped(Exception):
    """Why a step cannot run here."""


class Notes:
    """What a step has found so far, on disk after each finding."""

    def __init__(self, path: Path) -> None:
        self.path, self.found = path, dict[str, Any]()

    def add(self, **found: Any) -> None:
        """Add figures."""
        self.found |= found
        self.path.write_text(json.dumps(self.found, indent=1, default=str))


def demand_cuda() -> None:
    """Raise where PyTorch sees no GPU."""
    if importlib.util.find_spec("torch") is None:
        raise Skipped("no PyTorch")
    import torch

    if not torch.cuda.is_available():
        raise Skipped("no CUDA")


def used_mb() -> float:
    """Return the memory in use on the first GPU, by the driver."""
    from recipelab.sandbox.gpus import list_gpus

    return list_gpus()[0].used_mb


# What runs in the local sandbox.


def phase(code: str | tuple[str, ...], **limits: Any) -> Any:
    """Run Python code, or a command, as a phase in the local sandbox; ``gpus`` are to be given."""
    from recipelab.sandbox.base import PhaseLimits, PhaseRequest
    from recipelab.sandbox.local.sandbox import LocalSandbox

    given = {"seconds": 60.0, "memory_mb": 32_768, "cpus": 4, "pids": 1024, "gpus": ("0",)}
    command = ("python", "-c", code) if isinstance(code, str) else code
    with tempfile.TemporaryDirectory() as out:
        request = PhaseRequest("train", command, (), Path(out), PhaseLimits(**(given | limits)))

        async def ran() -> Any:
            async with LocalSandbox() as sandbox:
                return await sandbox.run(request)

        return asyncio.run(ran())


def told(result: Any) -> dict[str, Any]:
    """Return what matters of a phase's result, with the kind that a failure is given."""
    from recipelab.core.trial import Phase
    from recipelab.evaluation.failures import failure_of

    found = {"ending": result.ending, "exit": result.exit_code, "log": result.log[-600:]}
    found["seconds"] = round(result.wall_seconds, 2)
    if not result.ok:
        failure = failure_of(result, Phase.TRAIN, seed=1, budget=60.0)
        found |= {"kind": failure.kind, "signature": failure.signature}
    return found


def slots(notes: Notes, args: argparse.Namespace) -> None:
    """Slots see the GPU; one that others hold, or that is hidden, is not leased."""
    from recipelab.core.errors import RecipelabError
    from recipelab.sandbox.gpus import gpu_fault, list_gpus
    from recipelab.sandbox.slots import machine_slots

    def leased() -> str:
        try:
            return ", ".join(slot.name for slot in machine_slots(cpus=1, gpus=1))
        except RecipelabError as error:
            return str(error)

    notes.add(gpus=[str(gpu) for gpu in list_gpus()], slots=leased())
    notes.add(fault_of_first=gpu_fault("0"), fault_of_missing=gpu_fault("9"))
    os.environ["CUDA_VISIBLE_DEVICES"] = "9"
    notes.add(hidden=leased())
    del os.environ["CUDA_VISIBLE_DEVICES"]
    demand_cuda()
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        notes.add(while_3_gb_are_held=leased())
    finally:
        holder.kill()
        holder.wait()


def cuda(notes: Notes, args: argparse.Namespace) -> None:
    """CUDA starts under the local sandbox's limits, and is not there without a GPU."""
    demand_cuda()
    code = "import torch; print(torch.zeros(1).cuda(), torch.cuda.get_device_name())"
    for memory_mb in (32_768, 8192, 4096, 2048):
        notes.add(**{f"memory_{memory_mb}": told(phase(code, memory_mb=memory_mb))})
    check = "import torch; print(torch.cuda.is_available())"
    notes.add(without_gpu=told(phase(check, gpus=())))


def failures(notes: Notes, args: argparse.Namespace) -> None:
    """Too much memory, a bad index and a deadline are told for what they are."""
    demand_cuda()
    grab = "import torch; torch.zeros(1 << 40, device='cuda')"
    notes.add(too_much=told(phase(grab)))
    script = f"open('/tmp/grab.py', 'w').write({grab!r}); import os, sys; "
    launch = f"os.execv(sys.executable, [sys.executable, *{ONE_RANK!r}, '/tmp/grab.py'])"
    notes.add(too_much_by_torchrun=told(phase(script + launch)))
    index = "import torch; torch.zeros(4, device='cuda')[torch.tensor([9], device='cuda')].cpu()"
    notes.add(bad_index=told(phase(index)))
    notes.add(works_after=told(phase("import torch; print(torch.ones(2).cuda().sum())")))
    before = used_mb()
    loop = "import torch\nx = torch.zeros(1 << 30, device='cuda')\nwhile True: x += 1"
    notes.add(deadline=told(phase(loop, seconds=10.0)))
    time.sleep(1.0)
    notes.add(mb_before=before, mb_a_second_after=used_mb())


# airbench96: its pack with made images, and a campaign.


def inline(value: Any) -> str:
    """Return a value as TOML has it in one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def airbench(place: Path, args: argparse.Namespace, *, quick: bool) -> Any:
    """Write a copy of the pack with made images and no limits, and read it.

    Args:
        place: Where to write.
        args: Where clones are, and whether all is shrunk.
        quick: Whether to train few epochs without a compiler's kernels, for comparisons.
    """
    import tomllib

    from recipelab.packs.load import read_pack
    from recipelab.packs.upstream import take_from_clone

    shutil.copytree(ROOT / "task_packs" / "airbench96", place)
    original = read_pack(place / "pack.toml", "full")
    take_from_clone(original.upstream, args.upstream / CLONES["airbench96"])  # type: ignore[arg-type]
    recipe = recipe_of(original, args.shrunk)
    (place / "out").mkdir()
    maker = place / "full" / "rehearsal" / "make_data.py"
    count = [] if args.shrunk else ["10000"]
    subprocess.run([sys.executable, maker, *count], cwd=place, check=True)
    for path, text in recipe.files.items():
        if quick and path.endswith("airbench96_faster.py"):
            text = text.replace("'train_epochs': 45.0", "'train_epochs': 8.0")
            text += "\n\ndef compile_net(network):\n"
            text += '    return torch.compile(network, backend="eager")\n'
        (place / path).write_text(text)
    table = tomllib.loads((place / "pack.toml").read_text())
    full = table["profiles"]["full"]
    shrunk = full.pop("rehearsal")
    full.pop("upstream")
    for item in full["data"]:
        path = place / "out" / item["file"]
        item["sources"] = [{"kind": "path", "path": str(path)}]
        item |= {"sha256": sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
    full["gates"][0]["at_least"] = 0.2
    full |= {"seeds": [1, 2], "acceptance": {"calibration": 2, "confirm": [2, 4]}}
    if args.shrunk:
        full |= {key: shrunk[key] for key in ("budgets", "limits")}
        full |= {"sandbox": "cpu", "hardware": {"gpus": 0}}
    table["profiles"] = {"full": full}
    lines = [f"{key} = {inline(value)}" for key, value in table.items()]
    (place / "pack.toml").write_text("\n".join(lines))
    plays = [
        ("fewer-epochs", "sched", "'train_epochs': 8.0", "'train_epochs': 7.0"),
        ("more-epochs", "sched", "'train_epochs': 8.0", "'train_epochs': 9.0"),
        ("no-cutout", "aug", "'cutout': 12", "'cutout': 0"),
        ("less-smoothing", "loss", "'label_smoothing': 0.2", "'label_smoothing': 0.1"),
    ]
    script, book = "full/recipe/airbench96_faster.py", []
    for name, surface, old, new in plays:
        if old in (place / script).read_text():
            book.append(
                {
                    "id": name,
                    "surface": "opt" if surface == "sched" else surface,
                    "title": name,
                    "hypothesis": "It may be quicker.",
                    "expected_delta": -0.1,
                    "edits": [{"path": script, "search": old, "replace": new}],
                }
            )
    (place / "full" / "playbook.toml").write_text(f"plays = {inline(book)}\n")
    return read_pack(place / "pack.toml", "full")


def recipe_of(pack: Any, small: bool) -> Any:
    """Return the starting recipe of a full profile, or the one that is rehearsed."""
    from recipelab.campaign.rehearsal import shrunk

    return shrunk(pack) if small else pack.baseline()


def measured(pack: Any, recipe: Any, beside: Any, notes: Notes, name: str) -> None:
    """Measure a recipe on one seed, beside another if one is given."""
    from recipelab.core.content import Home
    from recipelab.evaluation.metric import Incumbent
    from recipelab.evaluation.observers import TrialObserver
    from recipelab.evaluation.session import CampaignSession
    from recipelab.plan import Plan

    start = time.monotonic()

    class Clock(TrialObserver):
        def began(self, phase: Any, seed: int | None) -> None:
            notes.add(**{f"{name}_{phase}_began": round(time.monotonic() - start, 1)})

    plan = Plan(pack=str(pack.root), profile="full", sandbox="local", slots=1)
    session = CampaignSession(plan, Home(pack.root / "home"), say=print)

    async def ran() -> Any:
        async with session.measuring() as evaluator:
            incumbent = None
            if beside is not None:  # Times are told in those of the other, measured first.
                alone = await evaluator.measure(beside, (1,), labels={"campaign": "gpu"})
                if not alone.seed_runs:
                    return alone
                runs = {run.seed: run for run in alone.seed_runs}
                incumbent = Incumbent(0, beside, runs, alone.seed_runs)
            return await evaluator.measure(
                recipe, (1,), incumbent=incumbent, labels={"campaign": "gpu"}, observer=Clock()
            )

    outcome = asyncio.run(ran())
    found = {"status": outcome.status, "reason": outcome.reason, "log": outcome.log_tail[-1500:]}
    if outcome.seed_runs:
        found["measures"] = outcome.seed_runs[0].measures
    notes.add(**{name: found})
    if not outcome.seed_runs:
        raise SystemExit(f"{name}: {outcome.reason}")


def airbench_seed(notes: Notes, args: argparse.Namespace) -> None:
    """Compile cold and warm, then one whole seed of upstream's recipe on made images."""
    if not args.shrunk:
        demand_cuda()
    with tempfile.TemporaryDirectory() as name:
        pack = airbench(Path(name) / "airbench96", args, quick=False)
        measured(pack, pack.baseline(), None, notes, "seed")


def in_turns(notes: Notes, args: argparse.Namespace) -> None:
    """A recipe beside itself, and a copy that was made 3 % slower beside it."""
    if not args.shrunk:
        demand_cuda()
    from recipelab.core.recipe import Recipe

    slow = """

_quick = main


def main(*words):
    import time
    start = time.perf_counter()
    result = _quick(*words)
    torch.cuda.synchronize() if torch.cuda.is_available() else None
    time.sleep(0.03 * (time.perf_counter() - start))
    return result
"""
    with tempfile.TemporaryDirectory() as name:
        pack = airbench(Path(name) / "airbench96", args, quick=True)
        same = pack.baseline()
        files = dict(same.files)
        files["full/recipe/airbench96_faster.py"] += slow
        measured(pack, same, same, notes, "same")
        measured(pack, Recipe(files), same, notes, "slower")


def campaign(notes: Notes, args: argparse.Namespace) -> None:
    """As many trials as fit, by the offline model, in a campaign with its lineage."""
    if not args.shrunk:
        demand_cuda()
    from recipelab import BudgetLimits, Campaign, Plan

    with tempfile.TemporaryDirectory() as name:
        pack = airbench(Path(name) / "airbench96", args, quick=True)
        limits = BudgetLimits(trials=args.trials, hours=args.seconds / 3600)
        plan = Plan(pack=str(pack.root), profile="full", sandbox="local", slots=1, limits=limits)
        with Campaign.create(plan, home=Path(name) / "home", say=print) as made:
            notes.add(result=str(asyncio.run(made.run())))
            notes.add(trials=[str(trial) for trial in made.trials()])


# Golf and nanochat: parts of upstream's own code.


def golf(notes: Notes, args: argparse.Namespace) -> None:
    """The record's GPTQ and brotli with 1 and 16 threads, on matrices of the record's sizes."""
    for module in ("sentencepiece", "brotli"):
        if importlib.util.find_spec(module) is None:
            raise Skipped(f"no Python package {module}")
    from recipelab.packs.load import load_pack
    from recipelab.packs.upstream import take_from_clone

    pack = load_pack(str(ROOT / "task_packs" / "parameter_golf"), "full")
    take_from_clone(pack.upstream, args.upstream / CLONES["parameter_golf"])  # type: ignore[arg-type]
    # The rehearsed text can be imported without FlashAttention; what is timed is the record's own.
    text = recipe_of(pack, True).files["full/recipe/train_gpt.py"]
    size = 128 if args.shrunk else 512
    timed = f"""
import sys, time, torch, brotli
sys.path.insert(0, sys.argv[1])
import train_gpt
torch.manual_seed(0)
for rows, columns in (({size}, {size}), ({4 * size}, {size}), ({size}, {4 * size})):
    inputs = torch.randn(4 * columns, columns)
    start = time.perf_counter()
    found = train_gpt.gptq_quantize_weight(torch.randn(rows, columns), inputs.T @ inputs)
    print(f"gptq {{rows}}x{{columns}}: {{time.perf_counter() - start:.2f}} s")
data = torch.randint(-31, 32, ({64 * size * size},), dtype=torch.int8).numpy().tobytes()
start = time.perf_counter()
print(f"brotli of {{len(data)}} bytes: {{len(train_gpt._compress(data, 'brotli'))}}", end="")
print(f" in {{time.perf_counter() - start:.2f}} s")
"""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "train_gpt.py").write_text(text)
        for threads in ("1", "16"):
            environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
            command = [sys.executable, "-c", timed, name]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            notes.add(**{f"threads_{threads}": done.stdout.splitlines() or done.stderr[-600:]})


def nanochat(notes: Notes, args: argparse.Namespace) -> None:
    """Tokens a second and peak memory by both windows, and by FlashAttention 3 if it is here."""
    if not args.shrunk:
        demand_cuda()
    if importlib.util.find_spec("rustbpe") is None:
        raise Skipped("no Python package rustbpe")
    from recipelab.packs.load import load_pack
    from recipelab.packs.upstream import take_from_clone

    pack = load_pack(str(ROOT / "task_packs" / "nanochat_d12"), "full")
    take_from_clone(pack.upstream, args.upstream / CLONES["nanochat_d12"])  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for path, text in recipe_of(pack, args.shrunk).files.items():
            # The made tokenizer is small; upstream's has as many.
            text = text.replace("vocab_size = tokenizer.get_vocab_size()", "vocab_size = 32768")
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)
        shutil.copytree(pack.root / "full" / "rehearsal", place / "full" / "rehearsal")
        (place / "out").mkdir()
        command = [sys.executable, "full/rehearsal/make_data.py"]
        subprocess.run(command, cwd=place, check=True)
        for file in ("base_data_climbmix/shard_*", "tokenizer/token*"):
            folder = place / "base" / Path(file).parent
            folder.mkdir(parents=True)
            for path in (place / "out").glob(Path(file).name):
                path.rename(folder / path.name)
        shim = place / "full" / "recipe" / "wandb.py"
        shim.write_text("")
        own = {"SSSL": ("SSSL", str(place / "none")), "L": ("L", str(place / "none"))}
        if args.kernels is not None:
            own = {"SSSL_with_kernels": ("SSSL", str(args.kernels))} | own
        for title, (pattern, cache) in own.items():
            steps = "3" if args.shrunk else "12"
            command = [sys.executable, *ONE_RANK, "-m", "scripts.base_train", "--depth=12"]
            command += [f"--window-pattern={pattern}", f"--num-iterations={steps}"]
            command += ["--core-metric-every=-1", "--sample-every=-1", "--eval-every=-1"]
            environment = os.environ | {"NANOCHAT_BASE_DIR": str(place / "base")}
            environment |= {"KERNELS_CACHE": cache, "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(
                command,
                cwd=place / "full" / "recipe",
                env=environment,
                capture_output=True,
                text=True,
            )
            words = ("step ", "Peak memory", "Flash Attention", "Error")
            lines = [
                line
                for line in (done.stdout + done.stderr).splitlines()
                if any(word in line for word in words)
            ]
            notes.add(**{title: lines[-12:]})


Step = Callable[[Notes, argparse.Namespace], None]
STEPS: dict[str, tuple[Step, int]] = {
    "slots": (slots, 40),
    "cuda": (cuda, 60),
    "failures": (failures, 90),
    "airbench_seed": (airbench_seed, 300),
    "in_turns": (in_turns, 150),
    "golf": (golf, 90),
    "nanochat": (nanochat, 200),
    "campaign": (campaign, 600),
}
"""The steps, most decisive first, and the most seconds of each."""


def run_step(args: argparse.Namespace) -> None:
    """Run one step in this process; its result is on disk as it goes."""
    notes = Notes(args.out / f"{args.step}.json")
    notes.add(status="cut off")
    try:
        STEPS[args.step][0](notes, args)
    except Skipped as why:
        notes.add(status=f"skipped: {why}")
    except BaseException as error:
        notes.add(status=f"failed: {type(error).__name__}: {error}"[:1000])
        raise
    else:
        notes.add(status="ok")


def python_with(wheels: Path | None, place: Path) -> str:
    """Return a Python that has this one's packages and those of carried wheels."""
    if wheels is None:
        return sys.executable
    found = sorted(str(path) for path in wheels.glob("*.whl"))
    if not found:
        raise SystemExit(f"gpu_check: no wheels in {wheels}")
    venv.create(place, system_site_packages=True, with_pip=False)
    packages = next(place.glob("lib/python3.*/site-packages"))
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*install, "--target", str(packages), *found], check=True)
    return str(place / "bin" / "python")


def main() -> None:
    """Run the steps, or the one that is named."""
    parser = argparse.ArgumentParser(description="Check what only a GPU shows.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--upstream", type=Path, required=True, help="folder of the clones")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install")
    parser.add_argument(
        "--kernels", type=Path, help="nanochat's FlashAttention, as an image has it"
    )
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of all steps")
    parser.add_argument("--trials", type=int, default=100, help="of the campaign, at most")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP")
    parser.add_argument("--shrunk", action="store_true", help="rehearse on a CPU")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=600.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out, args.upstream = args.out.resolve(), args.upstream.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.step:
        run_step(args)
        return
    with tempfile.TemporaryDirectory() as name:
        run_all(args, python_with(args.wheels, Path(name) / "venv"), Path(name))


def run_all(args: argparse.Namespace, python: str, scratch: Path) -> None:
    """Run the steps one after the other, and sum up after each."""
    end, summary = time.monotonic() + args.budget, dict[str, Any]()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "plugin"),
        "XDG_CACHE_HOME": str(scratch / "cache"),
    }
    for name in args.only:
        seconds = min(STEPS[name][1], end - time.monotonic())
        if seconds < 5:
            summary[name] = {"status": "no time left"}
            (args.out / "summary.json").write_text(json.dumps(summary, indent=1))
            continue
        words = ["--out", str(args.out), "--upstream", str(args.upstream), "--step", name]
        words += ["--trials", str(args.trials), "--seconds", str(max(seconds - 30, 10))]
        words += ["--shrunk"] if args.shrunk else []
        words += ["--kernels", str(args.kernels.resolve())] if args.kernels else []
        start, log = time.monotonic(), args.out / f"{name}.txt"
        with log.open("w") as file:
            step = subprocess.Popen(
                [python, __file__, *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            try:
                step.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(step.pid, signal.SIGKILL)
                step.wait()
        result = args.out / f"{name}.json"
        found = json.loads(result.read_text()) if result.is_file() else {"status": "did not start"}
        found |= {"seconds": round(time.monotonic() - start, 1)}
        summary[name] = found | {"log_end": log.read_text(errors="replace")[-LOG_CHARACTERS:]}
        print(f"{name:14} {found['seconds']:6.1f} s  {found['status']}", flush=True)
        (args.out / "summary.json").write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
