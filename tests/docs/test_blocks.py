"""Every block of code in README.md and docs/, and the examples of the commands, do what they say.

Python runs as it stands. The blocks for a shell run under bash with stand-ins for the programs that
they call; what they would have been called with is checked by the flags of the true commands, and
what is quick is called for real. Large models are stood in for by the one that the package ships.
"""

import dataclasses
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from docs.conftest import DOCUMENTS, Block, blocks, docstring_commands
from fake_programs import ROOT, FakePrograms
from flax import nnx
from PIL import Image

import renyi_jax
from renyi_jax.models import registry

SHIPPED = "vit_nano_patch4_56"
COMMANDS = [path for path in ROOT.rglob("renyi_jax/**/*.py") if "commands.run(" in path.read_text()]
BLOCKS = [block for path in DOCUMENTS for block in blocks(path)]
EXAMPLES = [
    block
    for path in sorted([*COMMANDS, *ROOT.glob("configs/*.py")])
    for block in docstring_commands(path)
]
SHELL = [block for block in (*BLOCKS, *EXAMPLES) if block.language == "bash"]

# What a block may name that is not here: a download, a machine, a program with its own arguments.
ELSEWHERE = ("git clone ", "bash launch/test.sh", "bash .ci/run", "bash benchmarks/gpu.sh")

# Commands that take seconds on the shipped model: those of the README are run.
QUICK = ("predict", "convert")

STAND_INS = {
    r"--model=\w+": f"--model={SHIPPED}",
    r"deit_small\.pth": "dinov2.safetensors",
    "=imagenet$": "=names.txt",
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with what the blocks name: the repository's own, photographs, and weights."""
    skimage = pytest.importorskip("skimage.data")
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("configs", "launch", "benchmarks", "tools", "studies", "tests"):
        (folder / name).symlink_to(ROOT / name)
    for path in ROOT.glob("requirements*.txt"):
        shutil.copy(path, folder)
    (folder / "photos").mkdir()
    for name in ("photos/chelsea.jpg", "a.jpg", "b.png", "chelsea.png", "coffee.png", "rocket.jpg"):
        Image.fromarray(skimage.chelsea()).resize((90, 60)).save(folder / name)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/activate").touch()
    (folder / "names.txt").write_text("\n".join(map(str, range(10))))
    for name in ("plan", "runs/plan"):
        (folder / name).mkdir(parents=True)
        renyi_jax.PruningConfig().save(folder / name / "plan.json")
    model = renyi_jax.create_model(SHIPPED, rngs=nnx.Rngs(0))
    for name in ("deit_small", "dinov2", "runs/quickstart/model", "runs/aircraft/model", "deit_3"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        renyi_jax.save_weights(model, str(folder / f"{name}.safetensors"))
    return folder


def ids(block: Block) -> str:
    return block.place


def test_every_block_is_of_a_language_that_is_run():
    assert {block.language for block in BLOCKS} <= {"python", "bash", ""}
    assert len(SHELL) > 20 and EXAMPLES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run_in_their_order_and_have_the_shapes_that_they_say(
    document, folder, tmp_path, monkeypatch
):
    for name in ("a.jpg", "b.png", "runs"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    code = [block for block in blocks(document) if block.language == "python"]
    if not code:
        pytest.skip("has no Python")
    name = "deit_small_patch16_224"
    small = dataclasses.replace(registry.MODELS[name], embed_dim=24, num_heads=2)
    monkeypatch.setitem(registry.MODELS, name, small)
    model = renyi_jax.create_model(name, rngs=nnx.Rngs(0))
    renyi_jax.save_weights(model, "deit_small.safetensors")
    namespace: dict = {}
    for block in code:
        exec(compile(block.text, block.place, "exec"), namespace)
        for line in block.text.splitlines():
            if shape := re.match(r"(.+?)  # \[([\d, ]+)\]", line):
                value = eval(shape[1].rpartition(" = ")[2], namespace)
                assert str(list(value.shape)) == f"[{shape[2]}]", f"{block.place}: {line}"


@pytest.mark.parametrize("block", SHELL, ids=ids)
def test_the_commands_of_a_block_exist_and_take_their_flags(block, folder, run_child, tmp_path):
    for words in called(block, folder, tmp_path):
        check(words, folder, run_child, really=block.place.startswith("README"))


def called(block: Block, folder: Path, scratch: Path) -> list[list[str]]:
    """The words of every program that a block of bash calls."""
    subprocess.run(["bash", "-n", "-c", block.text], check=True)
    fake_programs = FakePrograms(scratch)
    for program in ("python", "bash", "pip", "git", "sbatch"):
        fake_programs.add(program)
    block_file = scratch / "block.sh"
    block_file.write_text(f"set -e\n{block.text}\n")
    finished = fake_programs.run(block_file, cwd=folder)
    assert finished.returncode == 0, f"{block.place}: {finished.stderr}"
    assert fake_programs.calls() or block.text.startswith("source "), f"{block.place} calls nothing"
    return fake_programs.calls()


def check(words: list[str], folder: Path, run_child, really: bool) -> None:
    line = " ".join(words)
    if line.startswith(ELSEWHERE):
        return
    program, *arguments = words
    if program == "python" and arguments[0] == "-m":
        command = arguments[1].removeprefix("renyi_jax.")
        run_quietly(run_child, folder, command, *arguments[2:], "--only_check_args")
        if really and command in QUICK:
            for pattern, stand_in in STAND_INS.items():
                arguments = [re.sub(pattern, stand_in, each) for each in arguments]
            run_quietly(run_child, folder, command, *arguments[2:])
    elif program == "python":
        source = (ROOT / arguments[0]).read_text()
        for flag in re.findall(r"--(\w+)", " ".join(arguments[1:])):
            assert f'"{flag}"' in source or f'"--{flag}"' in source, line
    elif program == "pip":
        extras = {name for each in re.findall(r"\[([\w,]+)\]", line) for name in each.split(",")}
        tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
        known = tools["setuptools"]["dynamic"]["optional-dependencies"]
        assert extras <= known.keys(), line
        assert all((ROOT / name).is_file() for name in re.findall(r"-r (\S+)", line)), line
    else:
        scripts = [word for word in arguments if word.startswith("launch/")]
        assert program in ("bash", "sbatch") and len(scripts) == 1, f"nobody knows {line}"
        rest = arguments[arguments.index(scripts[0]) + 1 :]
        if "--" in rest:
            dry = subprocess.run(["bash", scripts[0], "--dry_run", *rest], capture_output=True)
            assert dry.returncode == 0, dry.stderr
        assert (ROOT / scripts[0]).is_file(), line


def run_quietly(run_child, folder: Path, command: str, *arguments: str) -> None:
    done = run_child(command, *arguments, cwd=folder)
    assert done.status == 0, f"{command} {' '.join(arguments)}: {done.stderr}"
