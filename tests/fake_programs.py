"""Programs that stand in for those of a cloud or a cluster, and write down how they were called."""

import os
import shutil
import subprocess
from pathlib import Path

BASH = shutil.which("bash")
ROOT = Path(__file__).resolve().parents[1]

# One line a call, each word quoted.
LOG_CALL = """#!{bash}
set -eu
printf '%q ' "${{0##*/}}" "$@" >>"$LOG"
printf '\\n' >>"$LOG"
{answer}
"""


class FakePrograms:
    """A folder of programs that come first on PATH, and the log of their calls."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.log = folder / "log"
        self._bin = folder / "bin"
        self._bin.mkdir(parents=True)

    def add(self, name: str, answer: str = "") -> None:
        """`answer`: what the program does after its call stands in the log, in bash."""
        program = self._bin / name
        program.write_text(LOG_CALL.format(bash=BASH, answer=answer))
        program.chmod(0o755)

    def run(
        self, script: Path, *arguments: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess:
        path = f"{self._bin}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [BASH, str(script), *arguments],
            cwd=cwd or self.folder,
            env={**os.environ, "PATH": path, "LOG": str(self.log), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def calls(self) -> list[list[str]]:
        return printed_commands(self.log.read_text()) if self.log.exists() else []


def printed_commands(text: str) -> list[list[str]]:
    """The words of each line as bash reads them; comments left out."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    script = "\n".join(f"printf '%s\\0' {line}; printf '\\1'" for line in lines)
    words = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return [call.removesuffix("\0").split("\0") for call in words.stdout.split("\1")[:-1]]


def worker_flags(command: str) -> list[str]:
    """What stands after worker.sh in a command for a shell."""
    (words,) = printed_commands("worker.sh" + command.rsplit("launch/worker.sh", 1)[1])
    return words[1:]
