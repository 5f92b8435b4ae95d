"""Candidates to a device and their times back, for a command line."""

from __future__ import annotations

from gemnet.cli.running import reported
from search.core.display import Display


def export_devices_command(directory: str, out: str | None, top: int, form: str, random: int, seed: int) -> int:
    """Write networks and scripts, see `search.devices.export`; the exit code, with one message."""
    from search.devices.export import MANIFEST, device_folder, export_devices

    def task() -> None:
        folder = device_folder(directory, out)
        count = export_devices(directory, folder, top, form, random, seed, Display())
        print(f"{folder / MANIFEST}: {count} networks for {form}. Copy {folder} to the device; there: python time_models.py")

    return reported("search export-devices", task, str(out or directory), elsewhere="--out")


def times_command(file: str, fit: int | None) -> int:
    """Tell what is in a file of times, and how well other cells are predicted; the exit code, with one message."""
    from search.devices.assessment import assessed
    from search.devices.times import read_times

    def task() -> None:
        times = read_times(file)
        print(
            f"{file}: {len(times.cells)} cells, {times.device}, {times.runtime}, threads: {times.threads}, {times.clock} time,"
            f" {min(times.milliseconds.values()):.3g} to {max(times.milliseconds.values()):.3g} ms"
        )
        told = assessed(times, fit)
        print(f"{told.method}, learned from {told.learned} cells: {told.quality}")

    return reported("search times", task, file)
