"""Find objects on photos. Prints file, class, score, x1, y1, x2, y2 in pixels."""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from gemnet.deploy.detector_steps import detected
from gemnet.deploy.runtimes.onnx import load

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("photos", nargs="+")
parser.add_argument("--score", type=float, help="leave out boxes below it; default: what the JSON says")
parser.add_argument("--draw", metavar="FOLDER", help="where the photos with their boxes go")
args = parser.parse_args()
about = json.loads(Path(__file__).with_name("network.json").read_text(encoding="utf-8"))
run = load(str(Path(__file__).with_name(about["files"][0])))
least = about["score_threshold"] if args.score is None else args.score
for path in args.photos:
    photo = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    for box, score, label in zip(*detected(run, [np.asarray(photo)], about)[0]):
        if score >= least:
            print(path, about["classes"][label], f"{score:.3f}", *(f"{value:.1f}" for value in box), sep="\t")
            ImageDraw.Draw(photo).rectangle(box.tolist(), outline="red", width=2)
            ImageDraw.Draw(photo).text(box[:2].tolist(), about["classes"][label], fill="red")
    if args.draw:
        Path(args.draw).mkdir(parents=True, exist_ok=True)
        photo.save(Path(args.draw) / f"{Path(path).stem}.png")
