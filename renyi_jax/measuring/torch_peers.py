"""Runs other people's models in PyTorch, each once for every line that it reads.

A program of its own, which knows nothing of this package: any Python that has torch and timm runs
it, `renyi_jax.measuring.peers` talks to it, and its threads are not ours. The first line is a
request in JSON, answered by `{}` or by `{"error": ...}`; every other is an entrant's number, how
many images it gets and how often, answered by an empty line once all is done.
"""

import importlib
import json
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Request = dict[str, Any]


def timm(request: Request, entrant: dict[str, Any]):
    """The model of timm with this name."""
    library = import_timm()
    if request["model"] not in library.list_models():
        raise LookupError(f"timm has no model {request['model']!r}.")
    return library.create_model(request["model"], img_size=tuple(request["image_size"]))


def timm_compiled(request: Request, entrant: dict[str, Any]):
    """timm's model, by `torch.compile` for each shape."""
    torch = importlib.import_module("torch")
    return torch.compile(timm(request, entrant), dynamic=False)


def evit(request: Request, entrant: dict[str, Any]):
    """The model of EViT's published code (github.com/youweiliang/evit), without the fused token."""
    import_timm()
    # The code counts multiply-adds with it, which nobody asks for here.
    sys.modules["torchprofile"] = types.ModuleType("torchprofile")
    vars(sys.modules["torchprofile"])["profile_macs"] = None
    rates = [1.0] * request["depth"]
    for block in entrant["blocks"]:
        rates[block - 1] = entrant["keep_rate"]
    # It registers its models in the place of timm's own.
    entrypoints = importlib.import_module("timm.models._registry")._model_entrypoints
    registered = dict(entrypoints)
    module = imported_from(entrant["path"], "evit")
    entrypoints.update(registered)
    return module.EViT(
        img_size=tuple(request["image_size"]),
        patch_size=request["patch_size"],
        embed_dim=request["embed_dim"],
        depth=request["depth"],
        num_heads=request["num_heads"],
        keep_rate=tuple(rates),
    )


def tome(request: Request, entrant: dict[str, Any]):
    """timm's model, patched by ToMe's published code (github.com/facebookresearch/ToMe)."""
    model = timm(request, entrant)
    imported_from(entrant["path"], "tome").patch.timm(model)
    model.r = entrant["r"]
    return model


BUILDERS: dict[str, Callable[[Request, dict[str, Any]], Any]] = {
    "timm": timm,
    "timm_compiled": timm_compiled,
    "evit": evit,
    "tome": tome,
}


def import_timm() -> types.ModuleType:
    """timm, beside a torch whose torchvision may lack its compiled operators.

    timm needs none of those, but torchvision cannot be imported while two of them are undeclared.
    """
    torch = importlib.import_module("torch")
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        # Kept on the function: the declarations go when the library is collected.
        vars(import_timm)["library"] = library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
    return importlib.import_module("timm")


def imported_from(folder: str, module: str) -> types.ModuleType:
    """A module of code that is not installed."""
    if not Path(folder).is_dir():
        raise LookupError(f"There is no folder {folder!r} with the code of {module}.")
    sys.path.insert(0, folder)
    return importlib.import_module(module)


def forward(model, request: Request) -> Callable[[Any], Any]:
    """Classifies images, as at deployment."""
    import torch

    dtype = getattr(torch, request["dtype"])
    model = model.eval().to(request["device"], dtype)

    def run(images):
        with torch.inference_mode():
            return model(images.to(dtype))

    return run


def train_step(model, request: Request) -> Callable[[Any], Any]:
    """One step of AdamW on float32 weights; under autocast where the dtype is another."""
    import torch

    model = model.train().to(request["device"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    dtype = getattr(torch, request["dtype"])

    def run(images):
        labels = torch.arange(len(images), device=request["device"])
        with torch.autocast(request["device"], dtype, enabled=dtype != torch.float32):
            loss = torch.nn.functional.cross_entropy(model(images).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def main() -> None:
    # What the models' code prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")  # old code, new libraries
    request = json.loads(sys.stdin.readline())
    try:
        torch = importlib.import_module("torch")
        if request["device"] == "cuda" and not torch.cuda.is_available():
            raise LookupError("Its torch sees no GPU.")
        torch.set_float32_matmul_precision("high")  # TF32 on a GPU, which is what XLA does there
        kind = train_step if request["train"] else forward
        calls = [kind(BUILDERS[each["peer"]](request, each), request) for each in request["peers"]]
    except (ImportError, LookupError) as error:
        print(json.dumps({"error": str(error)}), file=answers, flush=True)
        return
    images = torch.randn(request["batch_size"], 3, *request["image_size"], device=request["device"])
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        number, count, times = map(int, line.split())
        for _ in range(times):
            calls[number](images[:count])
        if request["device"] == "cuda":
            torch.cuda.synchronize()
        print(file=answers, flush=True)


if __name__ == "__main__":
    main()
