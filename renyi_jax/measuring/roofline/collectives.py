"""The collectives of a compiled program, read from the text of its optimised HLO."""

import collections
import dataclasses
import math
import re

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between groups of devices."""

    kind: str  # of `KINDS`
    # of the whole array in one group: what an all-reduce sums, an all-gather ends with, a
    # reduce-scatter starts from, or a device gives away in the other two
    bytes: int
    group_size: int  # devices in a group
    count: int  # how often a run of the program does it

    @property
    def sent_bytes(self) -> float:
        """What each device sends in a run of the program, where rings do the exchange.

        An all-reduce is a reduce-scatter and an all-gather, each of which sends all parts but one
        (Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms", section 3).
        """
        others = (self.group_size - 1) / self.group_size
        passes = {"all-reduce": 2 * others, "collective-permute": 1.0}.get(self.kind, others)
        return self.count * passes * self.bytes


def find_collectives(hlo: str) -> list[Collective]:
    """Returns the collectives between devices in `hlo`, the text of a compiled program.

    Loops count as often as XLA knows that they turn; of a conditional, every branch counts. A
    collective that XLA spreads over several fusions counts once.
    """
    computations, entry = _computations(hlo)
    times = _times(computations, entry)
    num_devices = int(_find(r"num_partitions=(\d+)", hlo) or 1)
    found: dict[str, Collective] = {}
    for name, lines in computations.items():
        for line in lines:
            match = _COLLECTIVE.match(line)
            if match is None or not times[name]:
                continue
            collective = _collective(match, line, name, times[name], num_devices)
            key = _find(r"channel_id=(\d+)", line) or match["name"]
            if collective.group_size > 1 and (
                key not in found or found[key].count < collective.count
            ):
                found[key] = collective
    return list(found.values())


_COLLECTIVE = re.compile(
    rf"\s*(?:ROOT )?%?(?P<name>\S+) = (?P<shapes>\(.+?\)|\S+)"
    rf" (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\("
)
_SHAPE = re.compile(r"\b([a-z]+\d+\w*|pred)\[([\d,]*)\]")
_CALLED = re.compile(
    r"(?:calls|to_apply|condition|body|true_computation|false_computation)=%?([\w.-]+)"
    r"|(?:branch_computations|called_computations)=\{([^}]*)\}"
)


def _find(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match and match[1]


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """The lines of every computation by its name, and the name of the one that is run."""
    computations: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in hlo.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.-]+) .*\{$", line)
        if header and " = " not in line.split(" (")[0]:
            lines = computations[header[2]] = []
            entry = header[2] if header[1] else entry
        else:
            lines.append(line)
    return computations, entry


def _times(computations: dict[str, list[str]], entry: str) -> dict[str, int]:
    """How often a run of the program runs each computation."""
    calls: dict[str, list[tuple[str, int]]] = collections.defaultdict(list)
    for caller, lines in computations.items():
        for line in lines:
            turns = int(_find(r'"known_trip_count":\{"n":"(\d+)"\}', line) or 1)
            for match in _CALLED.finditer(line):
                for called in re.findall(r"[\w.-]+", match[1] or match[2]):
                    calls[called].append((caller, turns))
    times: dict[str, int] = {entry: 1}

    def count(name: str) -> int:
        if name not in times:
            times[name] = sum(turns * count(caller) for caller, turns in calls[name])
        return times[name]

    return {name: count(name) for name in computations}


def _collective(
    match: re.Match, line: str, computation: str, count: int, num_devices: int
) -> Collective:
    kind, sizes = match["kind"], [_bytes(*shape) for shape in _SHAPE.findall(match["shapes"])]
    group_size = _group_size(line, num_devices)
    if match["start"] and kind == "all-gather":
        sizes = sizes[len(sizes) // 2 :]  # what goes in stands before what comes out
    elif match["start"] and kind == "collective-permute":
        sizes = sizes[:1]
    total = sum(sizes)
    if kind == "reduce-scatter":
        total *= group_size
    elif computation.startswith("all-reduce-scatter"):
        kind = "reduce-scatter"  # how XLA for TPUs writes one
    return Collective(kind, total, group_size, count)


def _bytes(dtype: str, sides: str) -> int:
    bits = 8 if dtype == "pred" else int(_find(r"(\d+)", dtype) or 8)
    length = math.prod(int(side) for side in sides.split(",") if side)
    return length * bits // 8


def _group_size(line: str, num_devices: int) -> int:
    """Of {{0,1},{2,3}}, [2,2]<=[4] (groups, devices in each), or mesh['a'=2,'b'=2] {'b'}."""
    if "source_target_pairs=" in line:
        return num_devices
    listed = _find(r"replica_groups=\{\{([\d,]*)\}", line)
    if listed is not None:
        return len(listed.split(","))
    counted = re.search(r"replica_groups=\[(\d+),(\d+)\]<=", line)
    if counted:
        return int(counted[2])
    named = re.search(r"replica_groups=\w*mesh\[(.*?)\]\s*\{(.*?)\}", line)
    if named:
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", named[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']+)'", named[2]))
    return num_devices
