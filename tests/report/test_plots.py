"""Plots: what is drawn where, the same bytes every time, hostile names, and errors in words."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recipelab.analysis.course import course_of
from recipelab.cli.app import app
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Checkpoint, Outcome, Proposal, Status
from recipelab.exchange.files import import_campaign
from recipelab.exchange.jsonl import export_lines
from recipelab.lineage import LineageStore
from recipelab.report.plots import KINDS, SUFFIXES, draw
from recipelab.report.plots.courses import groups_of
from recipelab.report.plots.groups import MOST_SURFACES
from recipelab.report.plots.page import Drawing, visible

from .searched import measured, search

pytest.importorskip("matplotlib")

HOSTILE = ("$\\frac{1}$", "<script>&amp;", "a\x1b[31m --> b", "中文", "_^{}%", "x" * 300)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineageStore]:
    """A lineage with a plain campaign, a hostile one that maximizes, and seeds of two arms."""
    file = tmp_path_factory.mktemp("plots") / "lineage.db"
    with LineageStore.open(file, create=True) as store:
        search(store, "plain", 30)
        search(store, "hostile", 24, goal="maximize", unit='$x<&>"', surfaces=HOSTILE)
        for arm in ("specialists", "generic"):
            for seed in (1, 2):
                search(store, f"{arm}-{seed}", 15, seed=seed + 10, plan={"arm": arm})
        yield store


@contextmanager
def drawn(kind: str, store: LineageStore, *names: str, **options: Any) -> Iterator[Any]:
    """The figure of a plot before it is a file."""
    courses = tuple(course_of(store, name) for name in names)
    drawing = Drawing(store, courses, 3.35, **options)
    module, _, function = KINDS[kind].partition(":")
    with drawing.styled():
        getattr(import_module(module), function)(drawing)
        yield drawing.figure


def lines(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_lineage_gives_the_same_bytes(
    searched: LineageStore, tmp_path: Path, kind: str
) -> None:
    import matplotlib

    files = []
    for place, suffix in enumerate([".svg", ".pdf", ".svg", ".pdf"]):
        files.append(tmp_path / f"{place}{suffix}")
        # Settings of the user's own change nothing, and stay.
        with matplotlib.rc_context({"lines.linewidth": 1.0 + place, "text.parse_math": True}):
            draw(kind, searched, ["hostile"], files[-1])
            assert matplotlib.rcParams["lines.linewidth"] == 1.0 + place
    svg, pdf, again, again_pdf = (file.read_bytes() for file in files)
    assert svg == again and pdf == again_pdf
    assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf
    assert b"/Type3" not in pdf  # its fonts are outlines that a press takes
    root = ElementTree.fromstring(svg)
    assert not [one for one in root.iter() if "script" in str(one.tag).lower()]
    assert b"<dc:date>" not in svg


def test_a_png_is_as_wide_as_two_columns(searched: LineageStore, tmp_path: Path) -> None:
    file = tmp_path / "a.PNG"
    draw("tree", searched, ["plain"], file, width="double")
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG") and int.from_bytes(data[16:20], "big") == 2100
    draw("tree", searched, ["plain"], file, width="4.5", force=True)
    assert int.from_bytes(file.read_bytes()[16:20], "big") == 1350


def test_the_best_has_its_lines_where_the_lineage_has_them(searched: LineageStore) -> None:
    steps = course_of(searched, "plain").steps
    with drawn("best", searched, "plain") as figure:
        (axes,) = figure.axes
        found = lines(axes)
        assert found["certified"][0] == [step.trials for step in steps]
        assert found["certified"][1] == [step.certified.score for step in steps]
        assert found["working line"][1] == [step.head.score for step in steps]
        assert set(found["baseline"][1]) == {steps[0].head.score}
        low = min(path.vertices[:, 1].min() for c in axes.collections for path in c.get_paths())
        error = max(step.head.error or 0 for step in steps if step.head == steps[-1].head)
        assert low <= steps[-1].head.score - 1.96 * error + 1e-9
        assert axes.get_ylabel() == "time (s)" and axes.get_xlabel() == "trials"
    with drawn("best", searched, "plain", against="device-hours") as figure:
        last = lines(figure.axes[0])["certified"][0][-1]
        assert last == pytest.approx(30 * 6.0 / 3600)
        assert figure.axes[0].get_xlabel() == "device time (h)"


def test_seeds_of_an_arm_are_its_mean_and_its_range(searched: LineageStore) -> None:
    names = ["specialists-1", "generic-1", "specialists-2", "generic-2"]
    ends = {name: course_of(searched, name).steps[-1].certified.score for name in names}
    with drawn("best", searched, *names) as figure:
        found = lines(figure.axes[0])
        assert list(found) == ["specialists (2 campaigns)", "generic (2 campaigns)"]
        both = [ends["generic-1"], ends["generic-2"]]
        assert found["generic (2 campaigns)"][1][-1] == pytest.approx(sum(both) / 2)
        band = figure.axes[0].collections[1].get_paths()[0].vertices[:, 1]
        assert band.min() <= min(both) and band.max() >= max(both)
    with drawn("best", searched, *names, apart=True) as figure:
        assert list(lines(figure.axes[0])) == names


def test_names_of_groups_that_are_cut_to_the_same_stay_apart(searched: LineageStore) -> None:
    courses = [course_of(searched, name) for name in ("specialists-1", "generic-1")]
    for place, course in enumerate(courses):
        object.__setattr__(course, "facts", {"model": "m" * 60 + str(place)})
    assert list(groups_of(Drawing(searched, courses, 3.35)).values()) == [
        ["specialists-1"],
        ["generic-1"],
    ]


def test_a_kept_trial_costs_what_was_booked(searched: LineageStore) -> None:
    last = course_of(searched, "plain").steps[-1]
    with drawn("cost", searched, "plain") as figure:
        names = [axes.get_ylabel().split("\n")[0] for axes in figure.axes]
        assert names == ["device time (min)", "tokens (thousands)", "models (US$)"]
        ends = [axes.lines[0].get_ydata()[-1] for axes in figure.axes]
    assert ends == pytest.approx(
        [30 * 6.0 / 60 / last.kept, 30 * 0.9 / last.kept, 30 * 0.01 / last.kept]
    )


def test_the_tree_joins_each_measured_trial_with_its_parent(searched: LineageStore) -> None:
    course = course_of(searched, "plain")
    scored = [trial for trial in course.trials if trial.score is not None]
    with drawn("tree", searched, "plain") as figure:
        tree, failures = figure.axes
        branches = [seg for c in tree.collections[:2] for seg in c.get_segments()]
        assert len(branches) == sum(len(trial.parents) for trial in scored)
        marks = {c.get_label(): len(c.get_offsets()) for c in tree.collections[2:]}
        assert sum(marks.values()) == len(scored)
        assert marks["missed a limit"] == sum(t.status is Status.GATE_MISSED for t in scored)
        rows = [label.get_text() for label in failures.get_yticklabels()]
        assert rows == ["crashed", "train overrun"]
        many = sum(len(c.get_offsets()) for c in failures.collections)
        assert many == len(course.trials) - len(scored)


def test_surfaces_show_gains_as_positive_and_put_the_rest_together(store: LineageStore) -> None:
    search(store, "many", 60, surfaces=[f"s{n}" for n in range(MOST_SURFACES + 5)])
    course = course_of(store, "many")
    kept = [t for t in course.trials if t.status is Status.KEPT and t.standing != "unproven"]
    gain = -sum(trial.delta or 0.0 for trial in kept)
    with drawn("surfaces", store, "many") as figure:
        left, right = figure.axes
        names = [label.get_text() for label in left.get_yticklabels()]
        assert len(names) == MOST_SURFACES and names[-1] == "6 others"
        widths = [bar.get_width() for bar in left.containers[0]]
        assert sum(widths) == pytest.approx(gain) and gain > 0
        trials = sum(bar.get_width() for container in right.containers for bar in container)
        assert trials == 60


def test_noise_holds_choices_against_fresh_seeds(searched: LineageStore) -> None:
    tests = searched.checkpoints("plain")
    with drawn("noise", searched, "plain") as figure:
        spreads, again = figure.axes
        marks = {c.get_label(): len(c.get_offsets()) for c in spreads.collections}
        assert marks["fresh seeds"] == len(tests) > 0
        assert len(again.containers[0].lines[0].get_xdata()) == len(tests)
        low, high = again.get_xlim()
        assert again.get_ylim() == (low, high)
    search(searched, "unsure", 6, keep=False)
    with drawn("noise", searched, "unsure") as figure:
        assert len(figure.axes) == 1


def test_gates_are_drawn_with_what_the_line_holds(searched: LineageStore) -> None:
    with drawn("gates", searched, "plain") as figure:
        (axes,) = figure.axes
        assert axes.get_title(loc="left") == "accuracy $x^2$ <b>"
        marks = {c.get_label(): c.get_offsets() for c in axes.collections if len(c.get_offsets())}
        missed = marks["missed"][:, 1]
        low, _ = axes.get_ylim()
        assert (missed < 0).all() and (missed > low).all()
        first = searched.trial("plain", 0).outcome
        assert first is not None
        expected = 100 * first.gates[0].margin / first.gates[0].limit
        assert lines(axes)["working line"][1][0] == pytest.approx(expected)


def test_a_trial_far_off_does_not_flatten_the_others() -> None:
    low, high = visible([9.0, 9.5, 10.0, 10.5, 11.0, 1e9, float("nan")], [8.0])
    assert low < 8.0 and 11.0 < high < 13.0
    assert visible([], []) == (-1.0, 1.0)
    assert visible([5.0], [5.0]) == (4.75, 5.25)


def test_scores_without_errors_and_trials_without_scores_are_drawn(
    store: LineageStore, tmp_path: Path
) -> None:
    search(store, "odd", 5)
    rest = {"files": {"r.py": ""}, "diff": "", "round_number": None, "parents": (0,)}
    for place, outcome in enumerate(
        (
            Outcome(Status.DISCARDED, "no figures"),
            Outcome(Status.DISCARDED, "one seed", score=1e300),
            Outcome(Status.KEPT, "better", score=-1e300),
        )
    ):
        number = store.propose("odd", Proposal("a", "", 0, "", 0.0, ()), digest=f"o{place}", **rest)
        store.record("odd", number, outcome)
    for kind in KINDS:
        draw(kind, store, ["odd"], tmp_path / f"{kind}.svg")


def test_what_cannot_be_drawn_is_told(searched: LineageStore, tmp_path: Path) -> None:
    search(searched, "new", 0)
    file = tmp_path / "a.svg"
    file.write_text("mine")
    new = tmp_path / "b.svg"
    for kind, names, options, told in (
        ("bests", ["plain"], {}, "unknown plot 'bests'; valid: best, cost, gates, noise"),
        ("best", [], {}, "name at least one campaign"),
        ("best", ["nobody"], {}, "nobody"),
        ("best", ["new"], {}, "new: no trial was kept"),
        ("cost", ["new"], {}, "new: no trial was kept"),
        ("best", ["plain", "hostile"], {}, "cannot share a plot: time (s), minimize, and time"),
        ("tree", ["plain", "hostile"], {}, "is of one campaign, not 2; of several: best, cost"),
        ("best", ["plain"], {"against": "days"}, "unknown axis 'days'; valid: cost, device-hours"),
        ("tree", ["plain"], {"against": "hours"}, "is always against trials"),
        ("best", ["plain"], {"width": "huge"}, "valid: single, double, or inches from 2 to 40"),
        ("best", ["plain"], {"width": "nan"}, "valid: single, double, or inches"),
    ):
        with pytest.raises(RecipelabError) as error:
            draw(kind, searched, names, new, **options)
        assert told in str(error.value)
    assert not new.exists() and [one.name for one in tmp_path.iterdir()] == ["a.svg"]
    with pytest.raises(RecipelabError, match=r"there already.*--force"):
        draw("best", searched, ["plain"], file)
    assert file.read_text() == "mine"
    with pytest.raises(RecipelabError, match=", ".join(SUFFIXES)):
        draw("best", searched, ["plain"], tmp_path / "a.gif")


def test_a_campaign_that_has_nothing_of_it_says_so(store: LineageStore, tmp_path: Path) -> None:
    store.create_campaign(
        name="empty", pack="toy", profile="mini", model="offline", sandbox="local", seed=0,
        trials=1, hours=None, settings={"metric": {"name": "t", "unit": "", "goal": "minimize"}},
    )  # fmt: skip
    for kind, told in (
        ("best", "no measured baseline"),
        ("tree", "no measured trial"),
        ("gates", "no judged gate"),
        ("surfaces", "no judged trial"),
        ("noise", "no trial with two seed runs"),
        ("cost", "no measured baseline"),
    ):
        with pytest.raises(RecipelabError, match=told):
            draw(kind, store, ["empty"], tmp_path / "a.svg")


def test_an_imported_campaign_has_its_scores_and_not_its_spending(
    searched: LineageStore, store: LineageStore, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(export_lines(searched, "plain")))
    import_campaign(store, tmp_path / "a.jsonl", "plain")
    draw("best", store, ["plain"], tmp_path / "a.svg")
    with pytest.raises(RecipelabError, match="plain was imported: when it spent"):
        draw("cost", store, ["plain"], tmp_path / "b.svg")
    with pytest.raises(RecipelabError, match="is not known, as it was imported; valid: trials"):
        draw("best", store, ["plain"], tmp_path / "b.svg", against="device-hours")


def test_the_command_draws_the_newest_campaign_and_those_that_are_named(
    searched: LineageStore, tmp_path: Path
) -> None:
    home = ("--home", str(Path(searched.url.removeprefix("sqlite:///")).parent))
    file = tmp_path / "new" / "best.svg"
    drawn = CliRunner().invoke(app, ["plot", "tree", "-o", str(file), *home])
    assert drawn.exit_code == 0 and file.is_file(), drawn.output
    names = ["generic-1", "generic-2"]
    drawn = CliRunner().invoke(app, ["plot", "cost", *names, "-o", str(file), "--force", *home])
    assert drawn.exit_code == 0 and drawn.output.startswith("cost of generic-1, generic-2: ")
    for words, told in (
        (["best"], "say where the plot goes: --output FILE, ending with .svg, .png, .pdf"),
        (["best", "nobody", "-o", "a.svg"], "nobody"),
        (["best", "plain", "-o", "a.svgz"], "must end with one of .svg"),
    ):
        failed = CliRunner().invoke(app, ["plot", *words, *home])
        assert failed.exit_code == 2 and told in " ".join(failed.output.split())


def test_without_matplotlib_the_extra_is_named(
    searched: LineageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RecipelabError, match=r"pip install 'recipelab\[plot\]'"):
        draw("best", searched, ["plain"], tmp_path / "a.svg")


def test_the_trust_of_scores_stands_above_them(store: LineageStore) -> None:
    search(store, "own", 20, heading=True)
    with drawn("best", store, "own") as figure:
        assert figure.get_suptitle().startswith("self-reported: code that agents may change")


def test_a_line_that_fell_back_is_no_gain(store: LineageStore) -> None:
    search(store, "fallen", 0)
    rest = {"files": {"r.py": ""}, "diff": "", "round_number": None, "parents": (0,)}
    number = store.propose("fallen", Proposal("a", "opt", 0, "", 0.0, ()), digest="x", **rest)
    store.record("fallen", number, measured(Status.KEPT, [9.0, 9.1], 10.0))
    with drawn("surfaces", store, "fallen") as figure:
        assert figure.axes[0].containers[0][0].get_width() == pytest.approx(0.95)
    store.add_checkpoint("fallen", Checkpoint(number, 0, False, True, "luck", 4))
    with drawn("surfaces", store, "fallen") as figure:
        assert figure.axes[0].containers[0][0].get_width() == 0.0
