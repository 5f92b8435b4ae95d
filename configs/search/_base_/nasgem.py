"""NASGEM's settings that do not depend on the images. Where the paper gives no number, ours is marked."""

seed = 0
penalty = 0.1  # lambda of Eq. 5, with log10 of the cost; ours, after AutoShrink by the same group
cost = dict(type="macs")  # millions of MACs of the proxy network, Eq. 5; others: see search/evaluation/cost.py

space = dict(
    type="dag",
    num_nodes=30,  # paper, section 4; the input is node 0
    operators=["conv1x1", "sepconv3x3"],  # paper, section 4
    density=[0.1, 0.5],  # of edges, drawn for each cell; ours
)
encoder = dict(type="kernel_guided", dim=50)  # d; ours
predictor = dict(type="mlp", mode="retrain")
model = dict(target_macs=463e6, target_params=4.3e6)  # GEMNet-A, paper, Table 1
proxy = dict()  # width, epochs and so on: see search/evaluation/proxy.py
executor = dict(workers="auto", device="auto")  # one worker for each GPU, or for each CPU core
