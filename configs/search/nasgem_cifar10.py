"""A search on 1/10 of CIFAR-10, the paper's proxy: 500 training images a class; hours on a CPU.

The cells of GEMNet-A and GEMNet-B come from it with the paper's encoder and predictor and 200,000 draws a round (the first line
of docs/results/search/nasgem_cifar10.jsonl has the settings); with those below it was gone on with.

Beyond the paper: every candidate's proxy network is the model to come, scaled down to the same MACs; the cost in the score is
the measured time of that model; what does not run in 3/4 of the time of torchvision's mnasnet1_3 is not trained at all; and the
predictor is the one that did best on the benchmarks for its time, an ensemble on counts.
Downloads CIFAR-10 (170 MB) to data.root once, if it is not there; its test set is not touched. nasgem_cifar10_folder.py reads
it from a folder of images.
"""

_base_ = ["_base_/nasgem.py"]

space = dict(density=[0.02, 0.1])  # ours: sparse draws give few wide nodes, which are fast; dense ones many narrow nodes
encoder = dict(_delete_=True, type="statistics")  # ours
predictor = dict(_delete_=True, type="ensemble")  # ours
data = dict(type="cifar10", root="data/cifar10", download=True, fraction=0.1, val_per_class=250)
proxy = dict(  # ours
    macs=3e6, stem_width=32, stem_stride=2, epochs=6, batch_size=128, learning_rate=0.3, shift=4, flip=True
)
cost = dict(type="latency", reference="torchvision/mnasnet1_3", max=0.75)
model = dict(residual=True)  # ours: without it the short training prefers shallow networks
search = dict(start=32, rounds=21, batch=8, draws=50_000)  # 200 candidates; ours
