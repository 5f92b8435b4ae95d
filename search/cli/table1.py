"""Count params and MACs of the networks in NASGEM's Table 1 at 224 pixels, beside what the table says. Nothing is trained.

examples:
  gemnet reproduce table1
  gemnet reproduce table1 --write          renews docs/results/table1.md and its record
"""

from gemnet.cli.calling import Call
from gemnet.cli.running import reported


def main(call: Call) -> int:
    """The exit code of the command."""
    parser = call.parser(__doc__)
    parser.add_argument("--write", action="store_true", help="renew docs/results/table1.md and table1.json")
    args = parser.parse_args(call.arguments)

    def task() -> None:
        root = call.checkout if args.write else None
        from gemnet.core.extras import need

        need("search")
        from search.experiments.published import table

        rows = table.measure()
        print(table.table(rows))
        if root:
            table.write(root, rows)

    return reported("reproduce table1", task, "docs/results/table1.md")
