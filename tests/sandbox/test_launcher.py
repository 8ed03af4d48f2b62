"""Launchers of processes: known in a command, and tried with two processes of our own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.sandbox import PhaseLimits, Sandbox
from recipelab.sandbox.check.launcher import launcher_of, try_launcher

RUN = ("python", "-m", "torch.distributed.run")
TWO = "--nproc_per_node=2"


@pytest.mark.parametrize(
    ("command", "launcher"),
    [
        ((*RUN, "--standalone", "--nproc_per_node=8", "t.py"), (*RUN, TWO, "--standalone")),
        (("torchrun", "--nproc-per-node", "gpu", "t.py", "-m", "x"), ("torchrun", TWO)),
        (("/opt/bin/torchrun", "t.py"), ("/opt/bin/torchrun", TWO)),
        (("torchrun", "--nnodes=2", "--node_rank", "1", "-m", "pkg.t"), ("torchrun", TWO)),
        (
            ("torchrun", "--max-restarts", "0", "--rdzv_backend=c10d", "t.py", "--depth", "8"),
            ("torchrun", TWO, "--max-restarts", "0", "--rdzv_backend=c10d"),
        ),
        (
            ("python3.12", "-u", "-m", "torch.distributed.launch", "--use_env", "t.py"),
            ("python3.12", "-u", "-m", "torch.distributed.launch", TWO, "--use_env"),
        ),
        (("torchrun", "--no-python", "./train.sh"), ("torchrun", TWO)),
        (("python", "t.py", "-m", "torch.distributed.run"), None),
        (("python", "-m", "torch.distributed.run"), None),
        (("torchrun", "--standalone"), None),
        (("torchrun", "--nproc_per_node"), None),
        (("python", "-m"), None),
        (("sh", "-c", "torchrun t.py"), None),
        ((), None),
    ],
)
def test_a_launcher_is_known_and_starts_two_processes(
    command: tuple[str, ...], launcher: tuple[str, ...] | None
) -> None:
    assert launcher_of(command) == launcher


_WORD = st.from_regex(r"[a-z0-9./]{1,4}", fullmatch=True)
_OPTIONS = st.one_of(
    st.sampled_from([("--standalone",), ("--virtual-local-rank",)]),
    st.builds(lambda value: (f"--rdzv_conf={value}",), _WORD),
    st.builds(lambda value: ("--log-dir", value), _WORD),
)
_DROPPED = st.one_of(
    st.sampled_from([("-m",), ("--module",), ("--no_python",), ("--run-path",)]),
    st.builds(lambda value: ("--nproc_per_node", value), _WORD),
    st.builds(lambda value: (f"--nnodes={value}",), _WORD),
)


@given(
    options=st.lists(st.tuples(st.booleans(), _OPTIONS, _DROPPED), max_size=5),
    script=_WORD,
    rest=st.lists(st.from_regex(r"-{0,2}[a-z]{1,5}(=[a-z]*)?", fullmatch=True), max_size=3),
)
def test_options_of_the_launcher_stay_and_the_scripts_own_go(
    options: list[tuple[bool, tuple[str, ...], tuple[str, ...]]], script: str, rest: list[str]
) -> None:
    words = [(kept if stays else dropped) for stays, kept, dropped in options]
    flat = [word for option in words for word in option]
    kept = [word for stays, option, _ in options if stays for word in option]
    assert launcher_of([*RUN, *flat, script, *rest]) == (*RUN, TWO, *kept)


ONE_RANK = "from pathlib import Path; Path('out/0').write_text('1')"


@pytest.mark.parametrize(
    ("code", "words", "without_torch"),
    [
        ("import time; time.sleep(60)", "were stopped at a limit (deadline) after 1 s", False),
        ("print('why'); raise SystemExit(7)", "ended with exit status 7\nwhy", False),
        (ONE_RANK, "do not meet; they ended with exit status 0", False),
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "no PyTorch in it", True),
    ],
)
async def test_processes_that_do_not_meet_say_how_they_ended(
    sandbox: Sandbox, code: str, words: str, without_torch: bool
) -> None:
    limits = PhaseLimits(seconds=1.0 if "sleep" in code else 20.0)
    meeting = await try_launcher(("python", "-c", code), sandbox, limits, {"trial": "0"})
    assert not meeting.met
    assert words in meeting.text
    assert meeting.without_torch is without_torch


def test_the_shipped_packs_with_several_gpus_have_launchers() -> None:
    from recipelab.campaign.pack_machinery import launchers
    from recipelab.core.trial import Phase
    from recipelab.packs.load import load_pack

    shipped = Path(__file__).parents[2] / "task_packs"
    for name in ("nanochat_d12", "parameter_golf"):
        found = launchers(load_pack(str(shipped / name), "full"))
        assert {Phase.TRAIN, Phase.PREDICT} <= {phase for own in found.values() for phase in own}
        assert launchers(load_pack(str(shipped / name), "mini")) == {}
