import contextlib
import gc
import os
import signal

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: threads that wait for each other cost more than they bring

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job; the tools would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

with contextlib.suppress(ImportError):  # writes its grammar once, before workers read it side by side
    from yapf.yapflib import yapf_api  # noqa: F401

WHOLE = [
    "api", "asking", "averaging", "backbone", "benchmark", "benchmark_conversion", "benchmark_networks",
    "beside_compiled_operators", "cell_benchmark", "cell_recipe", "chance", "classification", "commands", "comparison",
    "constraints", "cost", "damaged_encoder", "detection_classes", "detection_tools", "detector_export",
    "detector_export_errors", "detector_runtimes", "detector_search", "detectors", "device_export", "device_record",
    "device_times", "distributed", "doc_examples", "documentation", "embedding", "ended_by_signals", "endurance",
    "equality", "executor", "export", "exported", "extending_pages", "extras", "fusion", "guided_counts", "house",
    "importing", "input_sizes", "int8_detectors", "int8_layers", "landmarks", "mmcv_ops_module", "mmdet_detectors",
    "mmdet_tools", "mobile_operators", "model_table", "network", "operators", "own_detector", "own_encoder", "own_modules",
    "own_operators", "pace", "packaged_configs", "packaging", "parts", "pictures", "pipeline", "predict", "predictor",
    "prepared_data", "pretraining", "pretraining_processes", "printed", "processes", "proxy", "quantization",
    "ray_executor", "reach", "recipe", "report", "report_in_a_browser", "reproduce_tool", "retraining", "retrying",
    "runner", "runtimes", "search_tool", "svge_decoding", "svge_extrapolation", "svge_model", "svge_optimisation",
    "svge_tables", "svge_training", "tabular_evaluator", "timed", "timm_train", "tools", "transfer", "trial", "videos",
]  # fmt: skip
"""Files, test_NAME.py, that start processes, train, search, build detectors, compile or export. All others are unit tests."""

LONG = {
    "detection_tools": ["two_processes"], "detector_export": ["exported"], "detector_search": ["found"],
    "detectors": ["measured"], "device_export": ["folder"], "executor": ["driver"], "guided_counts": ["trained"],
    "int8_detectors": ["exported"], "own_detector": ["done"], "pretraining": ["done"], "quantization": ["model", "files"],
    "ray_executor": ["cluster"], "report_in_a_browser": ["pages"], "search_tool": ["finished"], "svge_decoding": ["learned"],
    "svge_extrapolation": ["proposals", "model"], "svge_model": ["learned"], "svge_optimisation": ["model"],
    "svge_prediction": ["model"], "svge_tables": ["model"],
}  # fmt: skip
"""Fixtures that take three seconds or longer, by file: tests that ask for one are `long`, as are those that are marked so."""


def pytest_collection_modifyitems(items):
    for item in items:
        name = item.path.stem.removeprefix("test_")
        if {*LONG.get(name, ())} & {*item.fixturenames} and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.long)
        if name not in WHOLE and not any(item.get_closest_marker(length) for length in ("long", "slow")):
            item.add_marker(pytest.mark.unit)


def pytest_collection_finish():
    """What the libraries made when they were imported stays: from here on, the garbage collector need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def signals_as_before():
    """What a library of a module's tests leaves behind, as Ray does, is not there for the next module's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    import torch

    torch.set_num_threads(1)
