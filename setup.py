from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="gemnet",
    version="0.1.0",
    description="Search a cell, get a mobile backbone that timm and MMDetection build by name (NASGEM, AAAI 2021)",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["gemnet", "gemnet.*", "search", "search.*"]),
    package_data={"gemnet.cells": ["*.json", "*.jsonl"], "search.report": ["*.html"], "search.experiments.svge": ["*.json"]},
    install_requires=[
        "torch>=2.8",
        "torchvision>=0.23",
        "timm>=1.0.21",
        # The kept forks of mmengine, mmcv, mmdet and mmpretrain, under these import names; never beside the upstream ones.
        "onnx>=1.17",
        "onnxruntime>=1.20",
        "onnxscript>=0.7",
        "onedl-mmengine>=0.10",
        "onedl-mmcv>=2.3",
        "onedl-mmdetection>=3.5",
        "onedl-mmpretrain>=1.3",
        "matplotlib>=3.8",
        "networkx>=3.0",
        "numba>=0.60",
        "numpy>=1.26",
        "pillow>=10.1",
        "pycocotools>=2.0.7",
        "pyyaml>=6",
        "rich>=13",
        "safetensors>=0.4",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "threadpoolctl>=3.1",
    ],
    extras_require={
        "ray": ["ray[client]>=2.40"],
        "test": [
            "grakel>=0.1.10; python_version < '3.13'",  # no wheels beyond: a compiler would be needed
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ray>=2.40",
            "ruff>=0.9",
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
