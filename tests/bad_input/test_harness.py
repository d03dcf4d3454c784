"""The harness itself: a command under it does what it does alone."""

import numpy as np
from PIL import Image

NANO = ("--model=vit_nano_patch4_56", "--weights=embedded:vit_nano_patch4_56")


def test_a_command_in_a_child_says_what_it_says_alone(run_command, tmp_path):
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(tmp_path / "a.png")
    arguments = ("predict", *NANO, "--image=a.png", "--top=2")
    child, alone = run_command(*arguments), run_command(*arguments, env={"LANG": "C"})
    assert child.status == alone.status == 0
    assert child.stdout == alone.stdout and child.stdout.startswith("a.png: ")
    assert child.peak_bytes > 1e8


def test_standard_input_reaches_the_command_and_a_hang_ends(run_command):
    assert run_command("predict", "--help", stdin="words").status == 0
    assert run_command("predict", "--image=/dev/stdin", *NANO, timeout=0.01).status == "timed out"
