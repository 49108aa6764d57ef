"""A Slurm of one node, this machine, with all its files in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CONF = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
KillWait=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why this machine cannot have one; empty where it can."""
    path = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "slurmd needs root"


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    found = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return found


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def one_node_slurm() -> Iterator[Path]:
    """Start it; gives its folder, whose slurm.conf belongs into SLURM_CONF. Ends with the block."""
    environment = {**os.environ, "PATH": os.environ["PATH"] + os.pathsep + "/usr/sbin"}
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, for the socket's name has its limit
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host, conf = socket.gethostname().partition(".")[0], folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, ports=free_ports(2)), encoding="utf-8")
    environment["SLURM_CONF"] = str(conf)
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--{what}={folder}/munge.{what.partition('-')[0]}"
              for what in ("socket", "pid-file", "log-file", "seed-file")]  # fmt: skip
    commands = (
        munge,
        ["slurmctld", "-D", "-i", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf)],
    )
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.out").open("wb") as log:
                daemons.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
                )
            end = time.monotonic() + 20
            while command is munge and not (folder / "munge.socket").exists():
                assert time.monotonic() < end, (folder / "munged.out").read_text(encoding="utf-8")
                time.sleep(0.05)
        os.environ["SLURM_CONF"] = str(conf)
        end = time.monotonic() + 30
        while "idle" not in ask("sinfo", "--noheader", "--format=%T"):
            assert time.monotonic() < end, (folder / "slurmctld.log").read_text(encoding="utf-8")
            time.sleep(0.2)
        yield folder
    finally:
        ask("scancel", "--user=root")
        end = time.monotonic() + 10  # what slurmstepd cannot report to anyone stays for ever
        while ask("squeue", "--noheader") and time.monotonic() < end:
            time.sleep(0.1)
        os.environ.pop("SLURM_CONF", None)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)
