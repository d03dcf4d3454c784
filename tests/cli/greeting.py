"""Says hello."""

from absl import flags

from renyi_jax.cli import commands
from renyi_jax.errors import UserError

_NAME = flags.DEFINE_string("name", None, "Whom to greet.", required=True)
_TIMES = flags.DEFINE_integer("times", 1, "How often.", lower_bound=0)

ERRORS = {
    13: UserError("Thirteen brings bad luck."),
    14: RuntimeError("a defect\nin two lines"),
    15: KeyboardInterrupt(),
    16: MemoryError(),
    17: RuntimeError("RESOURCE_EXHAUSTED: 3 GB"),
}


def main():
    if _TIMES.value in ERRORS:
        raise ERRORS[_TIMES.value]
    print(f"hello {_NAME.value}" * _TIMES.value)


if __name__ == "__main__":
    commands.run(main)
