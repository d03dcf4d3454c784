"""What a search leaves in its folder: the plans, and all that was judged."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from renyi_jax.common.files import write_json
from renyi_jax.common.provenance import write_results
from renyi_jax.models import VisionTransformer
from renyi_jax.planning.cost import gmacs_of
from renyi_jax.planning.plan import Found, Plan
from renyi_jax.pruning.sweep import describe

Row = dict[str, Any]


def write_plans(folder: epath.Path, found: Mapping[str, Found], model: VisionTransformer) -> None:
    """Writes a JSON file for each plan, and last results.json.

    Args:
        folder: where to.
        found: plans and what was judged for them, by the names of the files of the plans.
        model: that they are for.
    """
    for name, each in found.items():
        write_json(folder / name, each.plan.to_json())
    plans = [each.plan.to_json() for each in found.values()]
    rows = list(judged_rows(list(found.values()), model))
    write_results(folder / "results.json", {"plans": plans, "judged": rows})


def judged_rows(found: Sequence[Found], model: VisionTransformer) -> Iterator[Row]:
    """Yields a row for each candidate: `budget`, the pruning as tables have it, `gmacs`, its `loss`
    on the images that chose, and how many `images` these were; those that came furthest first."""
    gmacs = gmacs_of(model.spec)
    for plan, judged in found:
        for candidate, losses in judged:
            pruning = candidate.pruning
            yield {
                "budget": plan.budget,
                **describe(pruning),
                "gmacs": gmacs(pruning.stages),
                "loss": float(losses.mean()),
                "images": len(losses),
            }


def words_of(plan: Plan) -> str:
    """Returns a plan and its comparison in lines for a terminal."""
    lines = [f"{plan.budget}: {plan.pruning}", f"  {plan.gmacs:.4g} GMACs, {plan.objective}"]
    for row in plan.rows:
        line = f"  {row['name']:<10} {row['score']:.4g}"
        if row.get("difference") is not None:
            ends = ends_of(row["difference_interval"], "+.3g")
            line += f"   plan minus this {row['difference']:+.3g} ({ends})"
        lines.append(line)
    return "\n".join(lines)


def ends_of(interval: Sequence[float] | None, form: str) -> str:
    """Returns the ends of an interval in words, or a dash where there is none."""
    return " to ".join(f"{end:{form}}" for end in interval) if interval else "–"
