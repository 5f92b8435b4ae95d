"""Train the shipped cells, random cells and well-known networks at equal MACs, and tell who is better.

Tells test accuracy with its spread, costs, latency, how far cells are ahead of random ones, and whether the search's proxy
ranks cells as the longer training does. A training that is done is not done again; after Ctrl-C or kill the same command
goes on.

examples:
  gemnet evaluate --quick                              digits: shows in minutes that everything works
  gemnet evaluate --jobs 2                             CIFAR-10, all images: days on a CPU, hours on a GPU
  gemnet evaluate --macs 12e6 --epochs 12 --train-per-class 2000 --seeds 0 1 2 --jobs 2 --write
  gemnet evaluate --converged --most 4 --write         20 epochs, a recipe a family; four trainings more of its record
  gemnet evaluate --rivals timm/mobilenetv1_100 --tune learning_rate=0.1,0.2,0.4
  gemnet evaluate configs/search/nasgem_cifar10_folder.py --test-data cifar10/test \\
      --cfg-options data.root=cifar10/train --recipe learning_rate=0.2 cutout=8
"""

from gemnet.cli.arguments import number, whole
from gemnet.cli.calling import Call


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("config", nargs="?", help="of the search (default: gemnet::search/nasgem_cifar10.py)")
    parser.add_argument("--work-dir", help="where the trainings are recorded; default: work_dirs/trial_<config>")
    parser.add_argument("--macs", type=number(above=0), help="of every network on one image (default: 20e6)")
    parser.add_argument("--epochs", type=whole(1), help="of the longer training (default: 30)")
    parser.add_argument("--seeds", type=whole(0), nargs="+", help="of the longer training (default: 0 1 2)")
    parser.add_argument("--candidates", type=whole(1), help="random cells whose best by the proxy takes part (default: 20)")
    parser.add_argument("--random", type=whole(2), help="other random cells (default: 10)")
    parser.add_argument("--train-per-class", type=whole(1), metavar="N", help="training images a class at most (default: all)")
    parser.add_argument("--test-per-class", type=whole(1), metavar="N", help="test images a class at most (default: all)")
    parser.add_argument("--test-data", metavar="DIR", help="test images of an image folder (default: `test` beside data.root)")
    rivals = (
        "beside random cells, as chain, randwire, darts; a wrong name lists all; default: Watts-Strogatz, MobileNetV2, MnasNet"
    )
    parser.add_argument("--rivals", nargs="+", metavar="NETWORK", help=rivals)
    parser.add_argument("--recipe", nargs="+", metavar="KEY=VALUE", help="settings of the longer training")
    tried = "of the recipe, tried for each family of networks on held-out training images, as learning_rate=0.1,0.2"
    parser.add_argument("--tune", nargs="+", metavar="KEY=VALUES", help=tried)
    parser.add_argument("--tune-epochs", type=whole(1), help="of the trainings that choose so (default: 5)")
    parser.add_argument("--most", type=whole(1), metavar="N", help="trainings in this call at most (default: all missing)")
    parser.add_argument("--jobs", type=whole(1), help="trainings at a time (default: one on each GPU or core)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="a small trial on the digits, with whatever else is given")
    whole_trial = "at convergence: all of CIFAR-10, 20 epochs, 8 M MACs, a recipe a family, with whatever else is given"
    kind.add_argument("--converged", action="store_true", help=whole_trial)
    parser.add_argument(
        "--write", action="store_true", help="renew trial.md, .json, .jsonl and .svg, or converged.*, in docs/results"
    )
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = vars(parser.parse_args(call.arguments))

    from search.experiments.trial.command import trial_command

    write_to = call.checkout if args.pop("write") else None
    own = {name: args.pop(name) for name in ("config", "work_dir", "jobs", "quick", "converged", "cfg_options")}
    given = {name.replace("test_data", "test_root"): value for name, value in args.items() if value is not None}
    return trial_command(given, write_to=write_to, **own)
