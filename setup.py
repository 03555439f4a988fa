"""Packaging of minilm: two import packages from two source roots.

`kernels/` is a source root and never a package: a top-level `kernels` would shadow the Hugging Face
package of that name and break `transformers` for everyone who has both.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = "0.1.0"

CHAT = ["jinja2>=3.1.6"]
TEST = ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", *CHAT]
LINT = ["ruff>=0.6", "mypy>=1.11", "import-linter>=2.0", "types-PyYAML", "types-tqdm"]
LESSONS = [  # what `python -m lessons.build` needs
    "sphinx>=8.1", "myst-nb>=1.3", "sphinx-book-theme>=1.1.4", "sphinx-copybutton>=0.5.2",
    "nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29",
    # the CUDA compiler of the GPU simulator, for the chapter on kernels
    "nvidia-cuda-nvrtc-cu12>=12.4; sys_platform == 'linux' and platform_machine == 'x86_64'",
]  # fmt: skip

setup(
    name="minilm",
    version=VERSION,
    description="A language-model engine that people can read: autograd, Transformer, tokenizers and training in NumPy",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    author="The minilm authors",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["minilm", "minilm.*"]),
        *find_packages("kernels"),
    ],
    package_dir={"minilm_kernels": "kernels/minilm_kernels"},
    package_data={"minilm": ["py.typed"], "minilm_kernels": ["py.typed", "gpu/*.cu", "gpu/*.cuh"]},
    entry_points={"console_scripts": ["minilm = minilm.cli:main"]},
    install_requires=[
        "numpy>=2.0",
        "tqdm>=4.60",
        "matplotlib>=3.8",
        "safetensors>=0.4.3",
        "jsonargparse[signatures]>=4.35",
        "PyYAML>=6.0",
        "threadpoolctl>=3.5",
        "numba>=0.61; sys_platform != 'emscripten'",  # without it (in a browser) the NumPy reference serves
    ],
    extras_require={
        "cuda12": ["cupy-cuda12x[ctk]>=14", "ml_dtypes>=0.5"],  # ctk: CUDA's libraries as wheels; a driver is enough
        "cuda13": ["cupy-cuda13x[ctk]>=14", "ml_dtypes>=0.5"],
        "chat": CHAT,  # templates of chat models are written in Jinja
        "hub": ["huggingface_hub>=0.23"],  # to download; folders and its cache are opened without it
        "lessons": LESSONS,
        # a teacher's; students need none of it
        "course": ["nbgrader>=0.9.5", "jupytext>=1.16", "psutil>=5.9", "latex2mathml>=3.77"],
        "test": TEST,
        "dev": TEST + LINT + ["pre-commit>=3.7", "build>=1.2"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Education",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
