"""The search for the pruning that loses least at a budget."""

from renyi_jax.planning.candidates import Space
from renyi_jax.planning.plan import Plan, find_plan, find_plans
