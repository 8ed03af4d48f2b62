"""False claims, progress and gates of acceptance policies, with the settings of the shipped packs.

    python benchmarks/acceptance.py --quick
    python benchmarks/acceptance.py --campaigns 400 --published published_runs

The policies are the real ones, driven as the evaluator drives them; only the training is drawn
(``simulated_*.py``). Gains are in standard deviations of one seed run, and figures have their 95 %
intervals. Exit code 1 if a bar is missed; with ``--quick``, only if the whole interval misses it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

from simulated_campaign import Campaign, Result, Setting, campaigns
from simulated_gates import TRADES, GatedCampaign, MeanGate, gated
from simulated_noise import LANDSCAPES, NOISES
from simulated_policies import AT_ONCE, Halving, Lord, OldDefault, Overlapping
from simulated_published import RUNS, effects, replay
from simulated_racing import PROFILES, race

from recipelab.acceptance import Acceptance, KeepIfBetter, PairedTwoSigma, acceptance_policy
from recipelab.packs.load import load_pack

RATE, MIX, SMALL, BELOW, FLIGHT, SAVED, CHANGED = 0.05, 2.5, 8.0, 0.05, 0.9, 0.5, 0.01
"""The bars."""

BUDGET = 1000


@dataclass(frozen=True)
class Arm:
    """A policy with how its campaigns are run.

    Attributes:
        name: What it is called.
        policy: The policy.
        setting: How campaigns are run.
        kind: Who runs them.
    """

    name: str
    policy: Acceptance
    setting: Setting
    kind: type[Campaign] = Campaign


def shipped(pack: str, profile: str, policy: str) -> Arm:
    """A policy with the settings of a shipped pack."""
    found = load_pack(pack, profile)
    spec = found.acceptance.model_copy(update={"policy": policy})
    setting = Setting(len(found.seeds), spec.calibration, found.metric.side_by_side)
    return Arm(policy, acceptance_policy(spec), setting)


def rivals() -> list[Arm]:
    """The policies to compare with, with the settings that most shipped packs have."""
    line = shipped("nanochat_d12", "mini", "line")
    old = replace(line.setting, pool=False, learns=False)
    return [
        Arm("old default", OldDefault(), old),
        line,
        shipped("nanochat_d12", "mini", "confirmed"),
        Arm("paired-two-sigma", PairedTwoSigma(), old),
        Arm("keep-if-better, one seed", KeepIfBetter(), replace(old, seeds=1)),
        Arm("successive halving, checkpoints", line.policy, line.setting, Halving),
        Arm("LORD++", Lord(), old),
    ]


class Bench:
    """Runs campaigns on several processes, prints tables, and remembers missed bars.

    Args:
        count: Campaigns a row.
        pool: The processes.
        noises: Under which noises.
        quick: Whether a rate misses its bar only with its whole interval.
    """

    def __init__(
        self, count: int, pool: ProcessPoolExecutor, noises: Sequence[str], *, quick: bool
    ) -> None:
        self.count, self._pool, self.noises, self._quick = count, pool, noises, quick
        self.missed: list[str] = []

    def campaigns(self, arm: Arm, noise: str, landscape: str) -> list[Result]:
        """Runs an arm's campaigns."""
        work = partial(_campaigns, arm, noise, landscape)
        return [one for part in self._pool.map(work, self._portions()) for one in part]

    def gated(self, arm: Arm, trade: str, kind: type[GatedCampaign]) -> list[tuple[Result, float]]:
        """Runs an arm's campaigns with a gate."""
        work = partial(_gated, arm, trade, kind)
        return [one for part in self._pool.map(work, self._portions()) for one in part]

    def bar(self, holds: bool, words: str) -> None:
        """Remembers a bar that is missed."""
        if not holds:
            self.missed.append(words)

    def at_most(self, limit: float, count: int, total: int, words: str) -> str:
        """Holds a rate against its bar, and returns it in words."""
        share, low, high = _interval(count, total)
        text = f"{share:.1%} ({low:.1%}-{high:.1%})"
        self.bar((low if self._quick else share) <= limit, f"{words}: {text}")
        return text

    def _portions(self) -> list[range]:
        size = max(1, self.count // 16)
        return [range(at, min(at + size, self.count)) for at in range(0, self.count, size)]


def _campaigns(arm: Arm, noise: str, landscape: str, seeds: range) -> list[Result]:
    effect = LANDSCAPES[landscape]
    return campaigns(arm.policy, NOISES[noise], effect, arm.setting, seeds, arm.kind)


def _gated(
    arm: Arm, trade: str, kind: type[GatedCampaign], seeds: range
) -> list[tuple[Result, float]]:
    setting = replace(arm.setting, trials=TRADES[trade].trials)
    return gated(arm.policy, TRADES[trade], setting, seeds, kind)


def false_claims(bench: Bench) -> None:
    """Null campaigns of 200 trials with a false claim, under every noise."""
    arms = {
        "line": shipped("nanochat_d12", "mini", "line"),
        "line, side by side": shipped("airbench96", "mini", "line"),
        "confirmed": shipped("nanochat_d12", "mini", "confirmed"),
    }
    _title("Null campaigns with a false claim", ["noise", "old default", *arms])
    old = Arm("old", OldDefault(), replace(arms["line"].setting, pool=False, learns=False))
    for noise in bench.noises:
        cells = [_rate(bench.campaigns(old, noise, "null"))]
        for name, arm in arms.items():
            found = bench.campaigns(arm, noise, "null")
            what = f"false claims of {name} under {noise}"
            cells.append(bench.at_most(RATE, _false(found), len(found), what))
        _row([noise, *cells])
    if "normal" not in bench.noises:
        return
    cells = ["-"]
    for name, arm in arms.items():
        flying = replace(arm, setting=replace(arm.setting, in_flight=7))
        found = bench.campaigns(flying, "normal", "null")
        what = f"false claims of {name} with 7 in flight"
        cells.append(bench.at_most(RATE, _false(found), len(found), what))
    _row(["normal, 7 trials in flight", *cells])
    cells = ["-"]
    for name, arm in arms.items():
        found = bench.campaigns(replace(arm, kind=Overlapping), "normal", "null")
        what = f"false claims of {name} with {AT_ONCE} confirmed at the same time"
        cells.append(bench.at_most(RATE, _false(found), len(found), what))
    _row([f"normal, {AT_ONCE} trials confirmed at the same time", *cells])


def progress(bench: Bench) -> None:
    """True gain a thousand seed runs, on four landscapes."""
    found: dict[tuple[str, str], list[Result]] = {}
    names = [name for name in LANDSCAPES if name != "null"]
    _title("True gain a thousand seed runs; campaigns with a false claim", ["policy", *names])
    for arm in rivals():
        long = replace(arm, setting=replace(arm.setting, trials=4 * BUDGET, budget=BUDGET))
        cells = []
        for name in names:
            found[arm.name, name] = results = bench.campaigns(long, "normal", name)
            cells.append(f"{_mean(map(_per_budget, results))}; {_rate(results)}")
        _row([arm.name, *cells])
    for name, bar in (("realistic mix", MIX), ("small gains", SMALL)):
        ours, theirs = (
            fmean(map(_per_budget, found[arm, name])) for arm in ("line", "old default")
        )
        words = f"line makes {ours / theirs:.1f} times the progress of the old default on {name}"
        print(words)
        bench.bar(ours >= bar * theirs, words)


def gates(bench: Bench) -> None:
    """Campaigns whose final recipe is truly below its gate."""
    arms = [shipped("airbench96", "mini", name) for name in ("line", "confirmed")]
    heads = ["policy", "gate", *TRADES]
    _title("Final recipe truly below its gate; true gain; claims", heads)
    for arm in arms:
        for kind, words in ((MeanGate, "mean alone"), (GatedCampaign, "bounds")):
            cells = []
            for trade in TRADES:
                found = bench.gated(arm, trade, kind)
                low = sum(margin < 0.0 for _, margin in found)
                what = f"{arm.name} below its gate ({words}), {trade}"
                # The bar is that of the default, not of what it is compared with.
                limit = BELOW if kind is GatedCampaign and arm is arms[0] else 1.0
                text = bench.at_most(limit, low, len(found), what)
                gain = fmean(one.gain for one, _ in found)
                claims = fmean(one.claims for one, _ in found)
                cells.append(f"{text}; {gain:.1f}; {claims:.1f}")
            _row([arm.name, words, *cells])


def flight(bench: Bench) -> None:
    """Progress with trials in flight when another is kept."""
    line = shipped("nanochat_d12", "mini", "line")
    counts = (0, 1, 3, 7, 15)
    heads = ["landscape", "edits", *(f"{count} in flight" for count in counts)]
    _title("True gain of 200 trials", heads)
    for name in ("realistic mix", "easy"):
        for rebase in (True, False):
            cells, gains = [], []
            for count in counts:
                setting = replace(line.setting, in_flight=count, rebase=rebase)
                found = bench.campaigns(replace(line, setting=setting), "normal", name)
                gains.append(fmean(one.gain for one in found))
                cells.append(_mean(one.gain for one in found))
            _row([name, "merged onto the head" if rebase else "as they are", *cells])
            if rebase:
                share = gains[counts.index(7)] / gains[0]
                bench.bar(share >= FLIGHT, f"7 in flight, {name}: {share:.0%} of the progress")


def published(bench: Bench, folder: Path) -> None:
    """What each policy would have kept and claimed of the published runs."""
    heads = ["run", "spread", "policy", "kept", "worthless", "claims", "true gain, sd"]
    _title("Published runs, replayed", [*heads, "seed runs", "campaigns with a false claim"])
    for run in RUNS:
        worth, kept = effects(run, folder)
        gain = sum(value for value in worth if value > 0.0)
        _row([run.folder, run.spread, "as published", kept, "", "", f"{gain:.1f}", "", ""])
        for arm in rivals()[:5]:
            setting = replace(arm.setting, trials=len(worth))
            one = replay(arm.policy, setting, worth, max(10, bench.count // 8))
            figures = [one[key] for key in ("kept", "worthless", "claims", "gain")]
            cells = [*(f"{value:.1f}" for value in figures), f"{one['runs']:.0f}"]
            _row(["", "", arm.name, *cells, f"{one['false']:.0%}"])


def racing(bench: Bench, file: Path | None) -> None:
    """What stopping early saves, per shipped profile."""
    heads = ["profile", "policy", "seed runs of a whole trial", "of one worth nothing", "saved"]
    heads += ["left out at a gate that is missed", "changed, of those that pass"]
    _title("Seed runs saved on hopeless trials", heads)
    for pack, profile in PROFILES:
        for policy in ("line", "confirmed"):
            arm = shipped(pack, profile, policy)
            raced = race(pack, profile, policy, file, 40 if file else 160)
            sides = 2 if arm.setting.side_by_side else 1
            whole = sides * raced.planned
            few = replace(arm.setting, trials=50)
            found = bench.campaigns(replace(arm, setting=few), "normal", "realistic mix")
            each = fmean(one.hopeless for one in found)
            name, saved = f"{pack} {profile}", 1.0 - each / whole
            what = f"{name}, {policy}: verdicts changed"
            changed = bench.at_most(CHANGED, raced.changed, raced.passing, what)
            cells = [whole, f"{each:.2f}", f"{saved:.0%}", f"{raced.saved:.0%}", changed]
            _row([name, policy, *cells])
            if policy == "line":
                bench.bar(saved >= SAVED, f"{name}: {saved:.0%} saved on hopeless trials")


def _per_budget(one: Result) -> float:
    return one.gain * BUDGET / one.runs


def _false(found: Sequence[Result]) -> int:
    return sum(one.false > 0 for one in found)


def _rate(found: Sequence[Result]) -> str:
    share, low, high = _interval(_false(found), len(found))
    return f"{share:.1%} ({low:.1%}-{high:.1%})"


def _interval(count: int, total: int) -> tuple[float, float, float]:
    """A share with its interval after Wilson, Journal of the ASA 22 (1927)."""
    z, share = 1.96, count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z / (1 + z * z / total) * (share * (1 - share) / total + (z / (2 * total)) ** 2) ** 0.5
    return share, max(0.0, middle - reach), middle + reach


def _mean(values: Iterable[float]) -> str:
    found = list(values)
    return f"{fmean(found):.2f} ± {1.96 * stdev(found) / len(found) ** 0.5:.2f}"


def _title(words: str, heads: Sequence[str]) -> None:
    print(f"\n**{words}**\n\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|", flush=True)


def _row(cells: Sequence[object]) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> int:
    """Runs what is asked for; exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=400, help="Campaigns a row.")
    parser.add_argument("--quick", action="store_true", help="Few campaigns, wide intervals.")
    parser.add_argument("--published", type=Path, help="Folder of the published runs.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--noises", nargs="+", choices=NOISES, default=list(NOISES))
    parts: dict[str, Callable[[Bench], None]] = {
        "false": false_claims,
        "progress": progress,
        "gates": gates,
        "flight": flight,
    }
    parser.add_argument("--only", nargs="+", choices=[*parts, "racing", "published"])
    given = parser.parse_args()
    began, wanted = time.monotonic(), given.only or [*parts, "racing", "published"]
    folder = given.published
    with ProcessPoolExecutor(given.processes) as pool:
        count = 24 if given.quick else given.campaigns
        bench = Bench(count, pool, given.noises, quick=given.quick)
        for name, part in parts.items():
            if name in wanted:
                part(bench)
        if "racing" in wanted:
            racing(bench, folder / "cifar/results.tsv" if folder else None)
        if "published" in wanted and folder:
            published(bench, folder)
    print(f"\n{bench.count} campaigns a row, {time.monotonic() - began:.0f} s")
    for words in bench.missed:
        print(f"bar missed: {words}")
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
