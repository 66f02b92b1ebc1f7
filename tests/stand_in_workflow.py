"""Snakemake on the repository's rules, with stages that only write their manifests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from house import ROOT

# Bash reads this before each rule's command: `python` there writes a manifest that names its
# arguments, so that equal commands make equal files.
STAND_IN = """
python() {
    local command="$*"
    echo "${command%% --*}" >> "$RONDO_CALLS"
    while [ $# -gt 0 ]; do
        case "$1" in
            --out) mkdir -p "$(dirname "$2")"; echo "{\\"made by\\": \\"$command\\"}" > "$2" ;;
            --summary) echo '{"phases": []}' > "$2" ;;
            --report) echo '<p>' > "$2" ;;
            --figure) mkdir -p "$(dirname "$2")"; echo '<svg/>' > "$2" ;;
        esac
        shift
    done
}
"""


class Workflow:
    """Snakemake on the repository's Snakefile, with a results folder and stages of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        folder.mkdir(parents=True)
        (folder / "stand_in.sh").write_text(STAND_IN)
        for name in ("workflow", "config", "envs", "profiles", "Snakefile", "data", "stages"):
            (folder / name).symlink_to(ROOT / name)

    def run(
        self, *options: str, target: str = "all", **config: object
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake for one target with a config."""
        values = [f"{key}={value}" for key, value in config.items()]
        return subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", *options),
                *("--config", "run=trial", *values, "--", target),
            ],
            cwd=self.folder,
            env=os.environ
            | {"BASH_ENV": str(self.folder / "stand_in.sh"), "RONDO_CALLS": str(self.calls)},
            capture_output=True,
            text=True,
            check=False,
        )

    def planned(self, **config: object) -> Counter[str]:
        """How many jobs of each rule would run; local rules that end a run are left out."""
        ended = self.run("-n", **config)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        table = re.findall(r"^([a-z_]+) +(\d+)$", ended.stdout.rpartition("Job stats:")[2], re.M)
        return Counter({name: int(n) for name, n in table if name not in ("total", "all")})

    def copy(self, folder: Path) -> Workflow:
        """A finished tree to make a change on."""
        shutil.copytree(self.folder, folder, symlinks=True)
        found = object.__new__(Workflow)
        found.folder, found.calls = folder, folder / "calls"
        return found
