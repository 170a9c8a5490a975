"""The services of config/dask/compose.yaml as processes of this machine: a scheduler and workers that speak TLS."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import yaml
from distributed import Client

from dreamcatcherd.engine.dask_pool import security_of
from dreamcatcherd.engine.selection import Engine
from tests.e2e.processes import Processes
from tests.e2e.proxy import hold_port, port_of
from tests.e2e.servers import certify
from tests.e2e.tools import environment, wait_for

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "config/dask/compose.yaml"
KUBERNETES = ROOT / "config/dask/kubernetes.yaml"
MOUNTED = "/run/dask"
"""Where containers have their certificates."""


def services() -> dict[str, Any]:
    """The services of the compose file, without variables filled in."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def certificates(folder: Path) -> Path:
    """A folder with ca.pem, cert.pem and key.pem of an authority of its own."""
    folder.mkdir(parents=True)
    _, certificate, key = certify(folder)
    shutil.copy(certificate, folder / "cert.pem")
    shutil.copy(key, folder / "key.pem")
    return folder


class Cluster:
    """A scheduler, and workers as they are started; each with all of its processes."""

    def __init__(self, folder: Path) -> None:
        self.certificates = certificates(folder / "certificates")
        self._folder = folder
        self._held = hold_port()
        self._port = port_of(self._held)
        self.address = f"tls://127.0.0.1:{self._port}"
        self.scheduler = Processes(folder / "scheduler.log")
        self.workers: list[Processes] = []

    def start(self, workers: int = 2) -> None:
        """Start the scheduler, and so many workers; returns once all of them are known to it."""
        self._start(self.scheduler, "scheduler", ["--host=127.0.0.1"])
        wait_for(self._listens)
        for _ in range(workers):
            self.add_worker()
        self.await_workers(workers)

    def await_workers(self, count: int) -> None:
        """Wait until the scheduler has exactly so many workers."""
        engine = self.engine()
        security = security_of(engine.ca_file, engine.tls_cert, engine.tls_key)
        with Client(self.address, security=security, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            wait_for(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == count, 180)

    def add_worker(self, **variables: str) -> Processes:
        """Start one more worker, with more variables in its environment."""
        worker = Processes(self._folder / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        self._start(worker, "worker", ["--host=127.0.0.1"], **variables)
        return worker

    def _start(self, processes: Processes, service: str, more: list[str], **variables: str) -> None:
        """Run the command of a service, with the addresses and paths of this machine."""
        given = services()[service]
        words = [sys.executable, *given["entrypoint"][1:], *given["command"], *more]
        assert given["entrypoint"][0] == "python"
        here = {
            MOUNTED: str(self.certificates),
            "tls://scheduler:8786": self.address,
            "--port=8786": f"--port={self._port}",
            "--local-directory=/tmp": f"--local-directory={self._folder}",
        }
        for there, instead in here.items():
            words = [word.replace(there, instead) for word in words]
        env = {**environment(), **given["environment"], "PYTHONPATH": str(ROOT), **variables}
        processes.start(words, self._folder, env)

    def _listens(self) -> bool:
        assert self.scheduler.alive(), (self._folder / "scheduler.log").read_text()
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self._port)) == 0

    def engine(self) -> Engine:
        """The engine of a primary that has a certificate of the cluster's authority."""
        files = (self.certificates / name for name in ("ca.pem", "cert.pem", "key.pem"))
        return Engine("dask", 0, self.address, 0, *files)

    def config(self, file: Path, more: str = "", certificates: Path | None = None) -> Path:
        """A configuration with this engine, and other tables after it."""
        folder = certificates or self.certificates
        names = {"ca_file": "ca.pem", "tls_cert": "cert.pem", "tls_key": "key.pem"}
        lines = [f'{key} = "{folder / name}"\n' for key, name in names.items()]
        file.write_text(f'[engine]\nkind = "dask"\nscheduler = "{self.address}"\nthreshold = 1\n{"".join(lines)}{more}')
        return file

    def kill(self, processes: Processes) -> None:
        """End a service by force, with all of its processes."""
        for pid in processes.alive():
            os.kill(pid, signal.SIGKILL)
        processes.stop()

    def end(self) -> None:
        """End all of its processes."""
        for processes in (*self.workers, self.scheduler):
            self.kill(processes)
        self.workers.clear()

    def close(self) -> None:
        """End all of it, and give the port away."""
        self.end()
        self._held.close()
