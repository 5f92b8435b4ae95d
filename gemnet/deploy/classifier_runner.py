"""Tell what is on photos: prints file, class and probability; of a network without classes, saves its maps as PHOTO.npz."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gemnet.deploy.runtimes.onnx import load


def prepare(photo: Image.Image, steps: dict) -> np.ndarray:
    photo = ImageOps.exif_transpose(photo).convert("RGB" if len(steps["mean"]) == 3 else "L")
    ratio, (height, width) = steps["short_edge"] / min(photo.size), steps["crop"]
    sides = [max(int(side * ratio), steps["short_edge"]) for side in photo.size]
    photo = photo.resize(sides, Image.Resampling[steps["interpolation"].upper()])
    left, top = round((sides[0] - width) / 2), round((sides[1] - height) / 2)
    cut = np.asarray(photo.crop((left, top, left + width, top + height)), np.float32).reshape(height, width, -1)
    pixels = (cut / 255 - np.array(steps["mean"], np.float32)) / np.array(steps["std"], np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


if __name__ == "__main__":
    about = json.loads(Path(__file__).with_name("network.json").read_text(encoding="utf-8"))
    run = load(str(Path(__file__).with_name(about["files"][0])))
    for path in sys.argv[1:]:
        outputs = run(prepare(Image.open(path), about["preprocessing"]))
        if about["classes"] is None:
            np.savez(Path(path).with_suffix(".npz"), *outputs)
        shares = np.exp(outputs[0][0] - outputs[0].max())
        for label in np.argsort(-shares)[:5] if about["classes"] else ():
            if (share := shares[label] / shares.sum()) >= about["score_threshold"]:
                print(path, about["classes"][label], f"{share:.4f}", sep="\t")
