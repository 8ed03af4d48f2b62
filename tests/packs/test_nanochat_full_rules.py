"""nanochat_d12 at full scale: rules find what breaks them, and let pass what only looks like it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipelab.packs.load import read_pack
from recipelab.packs.upstream import take_from_clone

from .scripts import SHIPPED, loaded
from .test_nanochat_full import EVALUATOR, PACK

rules = loaded(PACK, "rules")

GPT, ENTRY, OPTIM = "recipe/nanochat/gpt.py", "recipe/scripts/base_train.py", "nanochat/optim.py"
EVAL = "from scripts.base_eval import evaluate_core\n"

BREAKS: list[tuple[str, str, str]] = [
    ("depth_is_twelve", ENTRY, "args.depth = 20"),
    ("depth_is_twelve", ENTRY, "args.depth += 8"),
    ("depth_is_twelve", ENTRY, "depth = 20"),
    ("depth_is_twelve", ENTRY, "setattr(args, 'depth', 20)"),
    ("depth_is_twelve", ENTRY, "vars(args)['depth'] = 20"),
    ("depth_is_twelve", ENTRY, "vars(args).update(depth=20)"),
    ("depth_is_twelve", ENTRY, "args = parser.parse_args(['--depth=20'])"),
    ("depth_is_twelve", ENTRY, "import sys\nsys.argv.append('--depth=20')"),
    ("depth_is_twelve", ENTRY, "from sys import argv\nargv.append('--depth=20')"),
    ("depth_is_twelve", ENTRY, "model = build_model_meta(args.depth + 8)"),
    ("depth_is_twelve", ENTRY, "config = GPTConfig(n_layer=2 * depth)"),
    ("depth_is_twelve", GPT, "class GPT:\n    def __init__(self, c):\n        c.n_layer = 20"),
    ("eval_data_in_training", GPT, "path = 'hellaswag.jsonl'"),
    ("eval_data_in_training", GPT, "path = f'{base}/language/arc_easy.jsonl'"),
    ("eval_data_in_training", GPT, "path = b'squad'"),
    ("eval_data_in_training", OPTIM, "open('data/eval_bundle/core.yaml')"),
    ("eval_data_in_training", GPT, "from nanochat.core_eval import render_prompts_mc"),
    ("eval_data_in_training", GPT, "from . import core_eval"),
    ("eval_data_in_training", GPT, EVAL),
    ("eval_data_in_training", ENTRY, "from scripts import base_eval"),
    ("eval_data_in_training", ENTRY, EVAL.replace("\n", " as measure\n")),
    ("eval_data_in_training", ENTRY, f"{EVAL}evaluate_core(model)\nevaluate_core(model)"),
    ("eval_data_in_training", ENTRY, f"{EVAL}measure = evaluate_core"),
    ("evaluator_patched", GPT, "import nanochat.core_eval as c\nc.evaluate_task = lambda *_: 1.0"),
    ("evaluator_patched", GPT, "import torch.nn.functional as F\nF.cross_entropy = mine"),
    ("evaluator_patched", GPT, "import torch\nsetattr(torch, 'argmax', mine)"),
    ("evaluator_patched", GPT, "import json\njson.loads = mine"),
    ("evaluator_patched", GPT, "import sys\nsys.modules['scripts.base_eval'] = mine"),
    ("evaluator_patched", GPT, "from sys import modules\nmodules.clear()"),
    ("evaluator_patched", GPT, "import importlib"),
    ("evaluator_patched", GPT, "exec(text)"),
    ("evaluator_patched", GPT, "import gc\ngc.get_objects()"),
    ("evaluator_patched", ENTRY, "tokenizer.encode = mine"),
    ("evaluator_patched", GPT, "from nanochat.tokenizer import RustBPETokenizer as T\nT.x = mine"),
    ("evaluator_patched", GPT, "print('CORE metric: 0.9999')"),
    ("evaluator_patched", GPT, "print(f'Evaluating: {label} (0-shot, type: x)... ')"),
    ("weights_in_code", GPT, f"WEIGHTS = '{'x' * 2001}'"),
    ("weights_in_code", GPT, f"WEIGHTS = [{'1, ' * 257}]"),
    ("weights_in_code", GPT, "WEIGHTS = {" + "".join(f"{n}: 1, " for n in range(257)) + "}"),
    ("weights_in_code", GPT, f"WEIGHTS = {10**41}"),
    ("weights_in_code", GPT, "import base64"),
    ("weights_in_code", GPT, "from zlib import decompress"),
    ("weights_in_code", GPT, "x = torch.frombuffer(text)"),
    ("weights_in_code", GPT, "x = open(__file__)"),
    ("weights_in_code", GPT, "x = GPT.__doc__"),
    ("network", GPT, "import requests"),
    ("network", GPT, "from urllib.request import urlopen"),
    ("network", GPT, "import socket as s"),
    ("network", GPT, "from huggingface_hub import hf_hub_download"),
    ("network", GPT, "import torch\nx = torch.hub.load('a', 'b')"),
    ("network", GPT, "import os\nos.system('curl x')"),
    ("network", GPT, "import subprocess"),
    ("hand_picked_seed", GPT, "torch.manual_seed(1337)"),
    ("hand_picked_seed", GPT, "LUCKY = 7\ntorch.manual_seed(LUCKY)"),
    ("hand_picked_seed", GPT, "rng = np.random.default_rng(seed=3)"),
    ("hand_picked_seed", GPT, "g = torch.Generator().manual_seed(0)"),
    ("unreadable", GPT, "def"),
]

NEAR: list[tuple[str, str, str]] = [
    ("depth_is_twelve", ENTRY, "parser.add_argument('--depth', type=int, default=20)"),
    ("depth_is_twelve", ENTRY, "args = parser.parse_args()\nprint(args.depth, layer_depth)"),
    ("depth_is_twelve", ENTRY, "m = build_model_meta(args.depth)\nd12 = build_model_meta(12)"),
    ("depth_is_twelve", ENTRY, "c = GPTConfig(n_layer=depth)\nargs.warmup_steps = 20"),
    ("depth_is_twelve", GPT, "class C:\n    n_layer: int = 12\nn_layer = c.n_layer\ndepth = 3"),
    (
        "depth_is_twelve",
        GPT,
        "class C:\n    def __init__(self, c):\n        self.depth = c.n_layer",
    ),
    ("eval_data_in_training", GPT, '"""Better on hellaswag and squad."""\n# arc_easy too'),
    ("eval_data_in_training", GPT, "text = 'search the archive of the squadron'"),
    ("eval_data_in_training", ENTRY, f"{EVAL}r = evaluate_core(model, max_per_task=500)"),
    ("eval_data_in_training", ENTRY, "print(f'Step {step:05d} | CORE metric: {core:.4f}')"),
    ("evaluator_patched", ENTRY, "print(f'Step {step:05d} | CORE metric: {core:.4f}')"),
    ("evaluator_patched", GPT, "import torch\ntorch.backends.cuda.matmul.allow_tf32 = True"),
    ("evaluator_patched", GPT, "from torch._inductor import config\nconfig.max_autotune = True"),
    ("evaluator_patched", GPT, "import torch\nm = torch.compile(m)\nm.eval()"),
    ("evaluator_patched", GPT, "class A:\n    def __init__(self, tokenizer):\n        self.t = 1"),
    ("evaluator_patched", ENTRY, "import os\nos.environ['A'] = 'b'\nsetattr(parent, name, linear)"),
    ("weights_in_code", GPT, f'"""{"long words " * 300}"""'),
    ("weights_in_code", GPT, "POLYNOMIAL = [(3.4, -4.7, 2.0), (8.1, -22.5, 15.9)]\nB = 2**19"),
    ("network", GPT, "import torch.distributed as dist\nfrom kernels import get_kernel"),
    ("network", GPT, "# see urllib\nrequests = 3\nurl = 'https://arxiv.org/abs/2505.13738'"),
    ("hand_picked_seed", GPT, "def f(seed=42):\n    rng.manual_seed(seed)"),
    ("hand_picked_seed", GPT, "torch.manual_seed(int(os.environ['NANOCHAT_SEED']) + 1)"),
    ("hand_picked_seed", GPT, "SEED = int(os.environ['NANOCHAT_SEED'])\nrandom.Random(SEED)"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BREAKS)
def test_a_recipe_that_breaks_a_rule_is_found_with_its_line(
    rule: str, path: str, text: str
) -> None:
    found = rules.broken_rules({path: f"x = 1\n{text}\n"})
    assert rule in {one.rule for one in found}, found
    for name, where, line, evidence in found:
        assert where == path, name
        assert 2 <= line <= 5
        assert evidence


@pytest.mark.parametrize(("rule", "path", "text"), NEAR)
def test_a_recipe_that_only_looks_like_it_is_not(rule: str, path: str, text: str) -> None:
    assert rules.broken_rules({path: text}) == [], rule


def test_every_rule_has_a_recipe_that_breaks_it_and_one_that_nearly_does() -> None:
    names = {rule.__name__ for rule in rules.RULES}
    assert names == {row[0] for row in BREAKS} - {"unreadable"} == {row[0] for row in NEAR}


def test_code_in_another_encoding_is_read_as_python_reads_it() -> None:
    found = rules.broken_rules({GPT: "# coding: utf-7\n+AGk-mport socket\n"})
    assert [one.rule for one in found] == ["network"]


def test_line_ends_of_other_systems_and_nesting_are_no_way_out() -> None:
    found = rules.broken_rules({GPT: "x = 1\rimport socket\r", OPTIM: "(" * 5000})
    assert [one.rule for one in found] == ["unreadable", "network"]


def test_files_that_are_fixed_are_not_read() -> None:
    assert rules.broken_rules({"recipe/nanochat/dataset.py": "import requests"}) == []
    assert rules.broken_rules({"full/recipe/nanochat/dataset.py": "import requests"}) == []
    assert rules.broken_rules({"recipe/notes.txt": "import requests"}) == []


def test_a_folder_is_checked_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "nanochat" / "gpt.py"
    path.parent.mkdir()
    path.write_text("import math\n")
    command = [sys.executable, str(EVALUATOR / "rules.py"), str(tmp_path)]
    assert subprocess.run(command).returncode == 0
    path.write_text("def")
    assert subprocess.run(command, capture_output=True).returncode == 0
    path.write_text("import math\nimport socket\n")
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, "nanochat/gpt.py:2: network" in result.stderr) == (4, True)


@pytest.mark.skipif("RECIPELAB_UPSTREAM" not in os.environ, reason="needs clones of upstream")
@pytest.mark.parametrize(("profile", "commit"), [("full", "92d63d4e"), ("paper", "0aaca568")])
def test_upstreams_own_files_break_no_rule(
    profile: str, commit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pack = read_pack(SHIPPED / PACK / "pack.toml", profile)
    assert pack.upstream is not None and pack.upstream.commit.startswith(commit)
    take_from_clone(pack.upstream, Path(os.environ["RECIPELAB_UPSTREAM"]) / "nanochat")
    files = pack.baseline().files
    assert set(pack.recipe.editable) <= set(files)
    assert rules.broken_rules(files) == []
