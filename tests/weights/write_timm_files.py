"""Writes the files in data/ that the tests read where torch is absent.

Run it with torch and timm installed:

    PYTHONPATH=.:tests python tests/weights/write_timm_files.py
"""

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from parity import KINDS, TINY, import_timm, random_images, run_timm, timm_model, tiny_spec

DATA = Path(__file__).parent / "data"
GRIDS = {"larger": (24, 32), "smaller": (8, 12)}
"""Image sizes to which timm resizes the plain model."""


def main() -> None:
    timm = import_timm()
    DATA.mkdir(exist_ok=True)
    images = random_images(tiny_spec("plain"))
    expected = {"images": images}
    for kind, name in KINDS.items():
        model = timm_model(timm, name, tiny_spec(kind))
        safetensors.torch.save_file(model.state_dict(), DATA / f"{kind}.safetensors")
        expected[kind] = run_timm(model, images)
    np.savez_compressed(DATA / "logits.npz", **expected)

    state = safetensors.torch.load_file(DATA / "plain.safetensors")
    for dtype in (torch.float16, torch.bfloat16):
        half = {name: tensor.to(dtype) for name, tensor in state.items()}
        suffix = str(dtype).removeprefix("torch.")
        safetensors.torch.save_file(half, DATA / f"plain.{suffix}.safetensors")
        torch.save(half, DATA / f"plain.{suffix}.pth")
    # As DeiT publishes: under "model", in the format before torch 1.6.
    torch.save({"model": state, "epoch": 3}, DATA / "wrapped.pth")
    torch.save(
        {"model": state, "epoch": 3},
        DATA / "wrapped.legacy.pth",
        _use_new_zipfile_serialization=False,
    )

    resized = {}
    for size, image_size in GRIDS.items():
        spec = tiny_spec("plain", image_size=image_size)
        model = timm.create_model(
            KINDS["plain"],
            pretrained=True,
            pretrained_cfg_overlay={
                "file": str(DATA / "plain.safetensors"),
                "num_classes": TINY["num_classes"],
            },
            img_size=image_size,
            **{key: value for key, value in TINY.items() if key != "image_size"},
        ).eval()
        resized[f"{size}_pos_embed"] = model.pos_embed.detach().numpy()
        resized[f"{size}_images"] = random_images(spec)
        resized[size] = run_timm(model, resized[f"{size}_images"])
    np.savez_compressed(DATA / "resized.npz", **resized)


if __name__ == "__main__":
    main()
