"""`python -m renyi_jax.data` is the command of `renyi_jax/prepare.py`, by the name of its room."""

import runpy

runpy.run_module("renyi_jax.prepare", run_name="__main__", alter_sys=True)
