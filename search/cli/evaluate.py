"""Train the shipped cells, random cells, MobileNetV2 and MnasNet at equal MACs with one recipe, and tell who is better.

Tells test accuracy with its spread, costs, latency, how far cells are ahead of random ones, and whether the search's proxy
ranks cells as the longer training does. A training that is done is not done again; after Ctrl-C or kill the same command
goes on.

examples:
  gemnet evaluate --quick                              digits: shows in minutes that everything works
  gemnet evaluate --jobs 2                             CIFAR-10, all images: days on a CPU, hours on a GPU
  gemnet evaluate --macs 12e6 --epochs 12 --train-per-class 2000 --seeds 0 1 2 --jobs 2 --write
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
    parser.add_argument("--recipe", nargs="+", metavar="KEY=VALUE", help="settings of the longer training")
    parser.add_argument("--jobs", type=whole(1), help="trainings at a time (default: one on each GPU or core)")
    parser.add_argument("--quick", action="store_true", help="a small trial on the digits, with whatever else is given")
    parser.add_argument(
        "--write", action="store_true", help="renew docs/results/trial.md, trial.json, trial.jsonl and trial.svg"
    )
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    args = vars(parser.parse_args(call.arguments))

    from search.experiments.trial.command import trial_command

    write_to = call.checkout if args.pop("write") else None
    own = {name: args.pop(name) for name in ("config", "work_dir", "jobs", "quick", "cfg_options")}
    given = {name.replace("test_data", "test_root"): value for name, value in args.items() if value is not None}
    return trial_command(given, write_to=write_to, **own)
