"""Tell which network a cell becomes at a budget: widths, depths, params, MACs. Nothing is built.

examples:
  gemnet fit work_dirs/digits/best_cell.json --target-macs 300e6
  gemnet fit best_cell.json --target-macs 300e6 --target-params 4e6 --out network.json
  gemnet fit gemnet_a --target-macs 100e6                     the cell of a shipped model

It is the network that timm.create_model("gemnet", cell=..., target_macs=...) builds, and in a config dict(type="gemnet.GEMNet",
cell=..., target_macs=...). Budgets are at 224x224 with 1,000 classes; where none is within 5 %, the range within reach is told.
"""

import json

from gemnet.cli.arguments import add_custom_imports, number
from gemnet.cli.calling import Call
from gemnet.cli.running import reported


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("cell", help="a cell file, or the name of a shipped cell")
    parser.add_argument("--target-macs", type=number(above=0), default=463e6, help="MACs at most; default: 463e6")
    parser.add_argument("--target-params", type=number(above=0), help="params at most; default: not bounded")
    parser.add_argument("--residual", action="store_true", help="add a cell's input to its output, which costs nothing counted")
    parser.add_argument("--out", metavar="FILE", help="write it as JSON, too")
    add_custom_imports(parser)
    args = parser.parse_args(call.arguments)

    def task() -> None:
        from gemnet.cell import Cell
        from gemnet.complexity import fit
        from gemnet.core.files import save_text
        from gemnet.core.own_modules import import_custom

        import_custom(args.custom_imports)
        fitted = fit(Cell.resolve(args.cell), args.target_macs, args.target_params, residual=args.residual)
        print(fitted.summary())
        given = {"cell": args.cell, "target_macs": args.target_macs}
        given |= {"target_params": args.target_params} if args.target_params else {}
        given |= {"residual": True} if args.residual else {}
        settings = ", ".join(f"{name}={value!r}" for name, value in given.items())
        print(f'build it: import gemnet, timm; model = timm.create_model("gemnet", {settings})')
        if args.out:
            network, cost = fitted.architecture, fitted.cost
            parts = ("widths", "depths", "stem_width", "head_width", "stem_stride", "residual")
            told = {
                "cell": json.loads(network.cell.to_json()),
                **{part: getattr(network, part) for part in parts},
                **{part: int(getattr(cost, part)) for part in ("params", "macs", "activations")},
                "create_model": given,
            }
            save_text(args.out, json.dumps(told, indent=1) + "\n")

    return reported("fit", task, args.out or args.cell, elsewhere="--out")
