"""Find objects on photos, with onnxruntime, NumPy and Pillow. Prints file, class, score, x1, y1, x2, y2 in pixels."""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("photos", nargs="+")
parser.add_argument("--score", type=float, help="leave out boxes below it; default: what the file says")
parser.add_argument("--draw", metavar="FOLDER", help="where the photos with their boxes go")
args = parser.parse_args()
session = onnxruntime.InferenceSession(str(Path(__file__).with_name("detector.onnx")), providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["gemnet"])
least = about["score_threshold"] if args.score is None else args.score
for path in args.photos:
    photo = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    dets, labels = session.run(None, {"photos": np.asarray(photo)[None]})  # several photos of one size may go in at once
    for (*box, score), label in zip(dets[0].tolist(), labels[0].tolist()):
        if label >= 0 and score >= least:
            print(path, about["classes"][label], f"{score:.3f}", *(f"{value:.1f}" for value in box), sep="\t")
            ImageDraw.Draw(photo).rectangle(box, outline="red", width=2)
            ImageDraw.Draw(photo).text(box[:2], about["classes"][label], fill="red")
    if args.draw:
        Path(args.draw).mkdir(parents=True, exist_ok=True)
        photo.save(Path(args.draw) / f"{Path(path).stem}.png")
