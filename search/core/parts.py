"""What parts a search has: each section's built-in ones by name, and what each may ask for.

An own part joins by `@ENCODERS.register("mine")` in a module that the config names in `custom_imports`, or by its import path
in the config, `type="mine:MyEncoder"`: see docs/extending/.
"""

from search.core.registry import Registry

SPACES = Registry(
    "space",
    {
        "dag": "search.spaces.dag:DagSpace",
        "nasbench101": "search.spaces.nasbench101:NasBench101Space",
        "nasbench201": "search.spaces.nasbench201:NasBench201Space",
        "cell_benchmark": "search.spaces.cell_benchmark:CellBenchmarkSpace",
        "nasbench_macro": "search.spaces.nasbench_macro:NasBenchMacroSpace",
    },
    default="dag",
)
ENCODERS = Registry(
    "encoder",
    {
        "adjacency": "search.encoders.adjacency:AdjacencyEncoder",
        "autoencoder": "search.encoders.autoencoder:AutoencoderEncoder",
        "kernel_guided": "search.encoders.kernel_guided:KernelGuidedEncoder",
        "guided_counts": "search.encoders.guided_counts:GuidedCountsEncoder",
        "landmarks": "search.encoders.landmarks:LandmarkEncoder",
        "statistics": "search.encoders.graph_features:GraphFeatureEncoder",
        "lstm": "search.encoders.sequence:LSTMEncoder",
        "gcn": "search.encoders.graph_convolution:GCNEncoder",
        "gates": "search.encoders.gates:GatesEncoder",
        "svge": "search.encoders.svge.encoder:SVGeEncoder",
    },
    offered=("space",),
)
PREDICTORS = Registry(
    "predictor",
    {
        "mlp": "search.predictors.mlp:MLPPredictor",
        "ensemble": "search.predictors.ensemble:EnsemblePredictor",
        "graph_ensemble": "search.predictors.graph_ensemble:GraphEnsemblePredictor",
        "bagged": "search.predictors.bagged:BaggedPredictor",
    },
    default="mlp",
)
DATA_SETS = Registry(
    "data",
    {
        "digits": "search.evaluation.data:digits",
        "cifar10": "search.evaluation.data:cifar10",
        "image_folder": "search.evaluation.data:image_folder",
        "box_crops": "search.evaluation.box_crops:box_crops",
    },
)
EVALUATORS = Registry(
    "proxy",
    {
        "training": "search.evaluation.evaluators:training",
        "table": "search.spaces.tabular:TabularEvaluator",
        "function": "search.evaluation.evaluators:asking",
    },
    offered=("space", "data", "model"),
    default="training",
)
COSTS = Registry(
    "cost",
    {
        "macs": "search.evaluation.cost:Macs",
        "params": "search.evaluation.cost:Params",
        "activations": "search.evaluation.cost:Activations",
        "latency": "search.evaluation.cost:Latency",
        "function": "search.evaluation.cost:CustomCost",
        "table": "search.evaluation.table_cost:TableCost",
    },
    offered=("count", "model", "space"),
    default="macs",
)

REGISTRIES = {registry.section: registry for registry in (SPACES, ENCODERS, PREDICTORS, DATA_SETS, EVALUATORS, COSTS)}
"""By the section of the settings that chooses from them."""
