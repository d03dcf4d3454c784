"""Command lines that are right. A case adds what is wrong: of a flag, the last value holds."""

from pathlib import Path

QUICKSTART = Path(__file__).resolve().parents[2] / "configs" / "quickstart.py"
NANO = ("--model=vit_nano_patch4_56", "--weights=embedded:vit_nano_patch4_56")

LINES = {
    "benchmark": (NANO[0], "--budget=0", "--out=out"),
    "compile": (f"--config={QUICKSTART}", "--topology=v5e:2x2", "--out=out"),
    "convert": (*NANO, "--out=out.safetensors"),
    "prepare": (f"--config={QUICKSTART}", "--check", "--out=out"),
    "evaluate": (f"--config={QUICKSTART}", f"--config.model.{NANO[1][2:]}", "--out=out"),
    "export": (*NANO, "--out=out.jax"),
    "main": (f"--config={QUICKSTART}", "--workdir=out"),
    "predict": (*NANO, "--image=a.png", "--out=out"),
    "visualize": (*NANO, "--image=a.png", "--out=out"),
}

WRITES_FILE = ("convert", "export")
READS_CONFIG = ("compile", "evaluate", "main", "prepare")
READS_IMAGES = ("predict", "visualize")


def output(command: str) -> str:
    """The flag that says where a command writes."""
    return "--workdir" if command == "main" else "--out"
