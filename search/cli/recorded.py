"""Commands whose results are lines of a record: the options that they share, their end, and the table of what is recorded."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemnet.cli.calling import Call
from gemnet.cli.running import explained, reported

STOPPED = "stopped; what has ended is recorded, the same command goes on"


@dataclass(frozen=True)
class Recorded:
    """A command that goes on with what its record lacks.

    Attributes:
        name: The command.
        record: The default file.
        renewed: What `--write` renews, in words.
        modules: Imports the experiment: the module with `open_record`, and the one with `table` and `write`.
    """

    name: str
    record: str
    renewed: str
    modules: Callable[[], tuple[Any, Any]]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options of the record."""
        parser.add_argument("--record", type=Path, default=Path(self.record), help="of what has ended; default: %(default)s")
        parser.add_argument("--write", action="store_true", help=f"renew {self.renewed}")

    def asked_for_table(self, call: Call) -> bool:
        """Whether the command line is that of `table`."""
        return bool(call.arguments) and call.arguments[0] == "table"

    def table(self, call: Call) -> int:
        """Tell what is recorded; the exit code."""
        call = replace(call, arguments=call.arguments[1:], usage=f"{call.usage} table")
        parser = call.parser(
            f"Make the tables of what is recorded; nothing is trained or searched.\n\nexamples:\n"
            f"  gemnet {self.name} table --record mine.jsonl\n"
            f"  gemnet {self.name} table --write          renews {self.renewed}\n"
        )
        self.add_arguments(parser)
        args = parser.parse_args(call.arguments)

        def task() -> None:
            from gemnet.core.extras import need

            need("search")
            recording, report = self.modules()
            with recording.open_record(args.record) as store:
                rows = list(store.rows.values())
            print(report.table(rows))
            if args.write:
                report.write(call.checkout, rows)

        return reported(f"{self.name} table", task, str(args.record), elsewhere="--record", explain=explained)

    def run(self, call: Call, args: Namespace, plan: Callable[[], Callable[[Any, Any], object]]) -> int:
        """Do what the record lacks, then tell what is recorded; the exit code.

        plan: Checks the arguments and gives what is done with the open record and a display.
        """

        def task() -> None:
            from gemnet.core.extras import need

            need("search")
            from search.core.display import Display

            recording, report = self.modules()
            work, display = plan(), Display()
            with recording.open_record(args.record, args.work_dir) as store:
                work(store, display)
                rows = list(store.rows.values())
            display.line(report.table(rows))
            if args.write:
                report.write(call.checkout, rows)

        return reported(self.name, task, str(args.work_dir), STOPPED, "the same command", explain=explained)
