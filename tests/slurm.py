"""A real Slurm of one node for a test: daemons of its own, in a folder of its own, on loopback.

It needs no munge, no database, no root and no /etc/slurm: messages carry no credentials, so it
listens for this machine alone and lives as long as the test.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scancel", "scontrol")
NODE = "here"
PATIENCE = 60
HERE = [str(Path(sys.executable).parent)]
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def missing() -> list[str]:
    """Which programs of Slurm are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]


class Slurm:
    """Start with :func:`running`.

    ``environment`` leads programs of Slurm to this one, and jobs to this Python.
    """

    def __init__(self, folder: Path, cores: int, memory_mb: int) -> None:
        self.folder = folder
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(configuration(folder, cores, memory_mb))
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        # The executor's job steps are cleared of SLURM_CONF: their srun must be told again.
        srun = folder / "bin" / "srun"
        real = shutil.which("srun", path=SEARCHED)
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {real} "$@"\n')
        srun.chmod(0o755)
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.pathsep.join([str(folder / "bin"), *HERE, SEARCHED]),
        }
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both daemons; return when the node takes jobs."""
        self._daemon("slurmctld", "-c", "-D")
        self._daemon("slurmd", "-c", "-D", "-N", NODE)
        self.wait_until(lambda: self.ask("sinfo", "-h", "-o", "%T") == "idle", PATIENCE)

    def stop(self) -> None:
        """End all jobs, with their step daemons, and then both daemons."""
        with contextlib.suppress(TimeoutError, subprocess.TimeoutExpired):
            self.ask("scancel", "--state=PENDING")
            self.ask("scancel", "--state=RUNNING")
            self.wait_until(lambda: not self.ask("squeue", "-h"), PATIENCE)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=PATIENCE)
            daemon.kill()

    def ask(self, *command: str) -> str:
        """What a program of Slurm answers."""
        return subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        ).stdout.strip()

    def jobs(self, comment: str = "") -> dict[int, str]:
        """State of all jobs by id, or of those whose comment (rule and wildcards) has ``comment``.

        Ended ones are remembered as long as this Slurm lives.
        """
        rows = self.ask("squeue", "-h", "-t", "all", "-o", "%i|%T|%k").splitlines()
        found = [row.split("|", 2) for row in rows]
        return {int(number): state for number, state, said in sorted(found) if comment in said}

    def wait_until(self, reached: Callable[[], object], patience: float) -> None:
        """Wait; fail with the daemons' last words."""
        deadline = time.monotonic() + patience
        while not reached():
            if time.monotonic() > deadline or any(d.poll() is not None for d in self.daemons):
                raise TimeoutError(f"Slurm: what was waited for did not happen\n{self.words()}")
            time.sleep(0.1)

    def words(self) -> str:
        """The end of what the daemons said."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-2000:]}" for p in logs)

    def _daemon(self, *command: str) -> None:
        program = shutil.which(command[0], path=SEARCHED)
        assert program is not None
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            self.daemons.append(
                subprocess.Popen(
                    [program, *command[1:]],
                    env=os.environ | self.environment,
                    stdout=log,
                    stderr=log,
                )
            )


@contextlib.contextmanager
def running(folder: Path, cores: int, memory_mb: int) -> Iterator[Slurm]:
    """A Slurm below ``folder`` that takes jobs of so many cores and so much memory together."""
    slurm = Slurm(folder, cores, memory_mb)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


def configuration(folder: Path, cores: int, memory_mb: int) -> str:
    """slurm.conf: nothing outside ``folder`` is written, no port but two on loopback is used."""
    user = getpass.getuser()
    controller, node = free_port(), free_port()
    return f"""\
ClusterName=trial
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/builtin
MinJobAge=86400
KillWait=5
JobRequeue=0
SlurmdParameters=config_overrides
NodeName={NODE} NodeHostname=localhost NodeAddr=127.0.0.1 Port={node} \
CPUs={cores} Boards=1 SocketsPerBoard=1 CoresPerSocket={cores} ThreadsPerCore=1 \
RealMemory={memory_mb} State=UNKNOWN
PartitionName=all Nodes={NODE} Default=YES MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
