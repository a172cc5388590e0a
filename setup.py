"""Packaging: the wheel carries `caffe` and its command alone; the toolkit is used from a checkout."""
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = next(line.split('"')[1] for line in (here / "caffe/__init__.py").read_text().splitlines()
               if line.startswith("__version__"))

setup(
    name="caffe-lungo",
    version=version,
    description="Caffe that installs: prototxts, caffemodels and pycaffe programs on PyTorch",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-2-Clause",
    python_requires=">=3.11",
    packages=find_packages(include=["caffe", "caffe.*"]),
    # the explicit package_dir makes `pip install -e .` put this folder itself on the path, toolkit included
    package_dir={"": "."},
    package_data={"caffe": ["py.typed"], "caffe.proto": ["caffe.proto"]},
    install_requires=[   # reasons: docs/dependencies.md
        "torch>=2.11",
        "numpy>=1.26",
        "scipy>=1.11",
        "pillow>=10.1",
        "pycocotools>=2.0.7",
        "scikit-learn>=1.4",
        "protobuf>=4.25.8,!=5.26.*",
        "halide>=19",
        "tqdm>=4.66",
    ],
    extras_require={
        "gpu": ["cupy-cuda12x>=13.4"],
        "hdf5": ["h5py>=3.10"],
        "lmdb": ["lmdb>=1.4"],
        "export": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20", "safetensors>=0.4.5"],
        "tools": ["matplotlib>=3.8"],
        "test": ["pytest>=8", "pytest-cov>=5", "hypothesis>=6.100", "h5py>=3.10", "lmdb>=1.4",
                 "plyvel>=1.5; sys_platform == 'linux'", "matplotlib>=3.8", "onnx>=1.17", "onnxscript>=0.5",
                 "onnxruntime>=1.20", "safetensors>=0.4.5", "opencv-python-headless>=4.10", "tensorboard>=2.18",
                 "pydot>=3", "nvidia-cuda-nvrtc-cu12>=12.4; sys_platform == 'linux'"],
        "dev": ["ruff>=0.6", "mypy>=1.11"],
    },
    entry_points={"console_scripts": ["caffe = caffe.cli:main"]},
    classifiers=["Programming Language :: Python :: 3", "Topic :: Scientific/Engineering"],
)
