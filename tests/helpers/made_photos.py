"""What pretraining is tested with: a few made photos of SIZE pixels, and a small teacher of CLASSES classes."""

CLASSES, SIZE = 40, 32


def small(**options):
    """Options of a config for them."""
    workers = {f"{part}_dataloader.num_workers": 0 for part in ("train", "val")}
    return {"epochs": 2, "image_size": SIZE, "batch_size": 4, **workers, **options}
