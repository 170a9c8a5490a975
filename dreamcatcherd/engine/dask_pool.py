"""Tasks on a Dask cluster: the scheduler at an address, or a cluster of processes on this machine (extra `dask`).

Owns what Dask alone needs: the versions of the workers, whether they share the repository, and what a lost scheduler
looks like. Dask itself runs the tasks of a lost worker again."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast

import dask
from distributed import Client, LocalCluster
from distributed.scheduler import KilledWorker
from distributed.security import Security

from dreamcatcherd.core.errors import RetryableError
from dreamcatcherd.engine.pools import AHEAD, Function, Task, task_failure
from dreamcatcherd.engine.tracker import start_tracker

_Tag = TypeVar("_Tag")

_LocalCluster, _Client, _Security = cast(Any, LocalCluster), cast(Any, Client), cast(Any, Security)
"""The library ships types for few of its functions."""

CONNECT_S = 10.0
"""How long a scheduler may take to answer."""

WORKERLESS_S = 60.0
"""How long work waits for a first worker, or for another one after the last was lost."""

_POLL_S = 1.0

_SETTINGS = {
    "distributed.admin.large-graph-warning-threshold": "1GB",  # tasks carry what they work on, a few at a time
    "distributed.scheduler.allowed-failures": 3,
    "distributed.comm.timeouts.connect": f"{CONNECT_S}s",
}


class DaskPool:
    """The workers of a Dask scheduler. `probe` is an object of the repository in `folder`: workers that find it there
    share the repository. It waits `patience_s` for a first worker."""

    def __init__(
        self,
        scheduler: str | None,
        workers: int,
        security: Security | None,
        folder: Path | None,
        probe: str | None,
        patience_s: float | None = None,
    ) -> None:
        # The library logs each lost connection with its traceback; what matters is raised.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._where = scheduler or "the cluster on this machine"
        self._cluster: Any = None
        with dask.config.set(_SETTINGS):
            try:
                if scheduler is None:
                    start_tracker()
                    self._cluster = _LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        host="127.0.0.1",
                        dashboard_address="127.0.0.1:0",  # none takes a port too: 8787, which another may have
                        scheduler_kwargs={"dashboard": False},
                        silence_logs=logging.CRITICAL,
                    )
                self._client = _Client(
                    self._cluster or scheduler, security=security, timeout=CONNECT_S, set_as_default=False
                )
            except Exception as error:  # of network, TLS, processes or the library itself
                self._close_cluster()
                raise self._lost(error) from error
        try:
            self._wait_for_workers(WORKERLESS_S if patience_s is None else patience_s)
            self._check_versions()
            self.shares = self._shared(folder, probe)
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        """How many threads the workers of the cluster have together."""
        return max(1, sum(int(worker["nthreads"]) for worker in self._workers().values()))

    def run(self, function: Function, tasks: Iterable[Task[_Tag]]) -> Iterator[tuple[_Tag, bytes]]:
        source = iter(tasks)
        ahead: deque[tuple[_Tag, Any]] = deque()
        try:
            while True:
                most = AHEAD * self.workers
                while len(ahead) < most and (task := next(source, None)) is not None:
                    ahead.append((task[0], self._submit(function, task[1])))
                if not ahead:
                    return
                result = self._result(ahead[0][1])
                yield ahead.popleft()[0], result
        finally:
            for _, future in ahead:
                with contextlib.suppress(Exception):  # the scheduler may be gone
                    future.cancel()

    def close(self) -> None:
        """Let go of the scheduler; a cluster of this machine ends."""
        with contextlib.suppress(Exception):  # nothing of it is needed any more
            self._client.close(timeout=CONNECT_S)
        self._close_cluster()

    def _close_cluster(self) -> None:
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=CONNECT_S)

    def _submit(self, function: Function, argument: bytes) -> Any:
        try:
            with dask.config.set(_SETTINGS):
                return self._client.submit(function, argument, pure=False)
        except Exception as error:  # the client closes once its scheduler is lost
            raise self._lost(error) from error

    def _result(self, future: Any) -> bytes:
        """What a task gave; waits as long as the scheduler has workers."""
        alone_since: float | None = None
        while True:
            try:
                result: bytes = future.result(timeout=_POLL_S)
            except (TimeoutError, UnboundLocalError) as error:
                # The second is the library's own, where a wait is cancelled just as its time is over. A task that
                # raised either of them has failed.
                if future.status == "error":
                    raise task_failure(error) from error
                if self._client.status != "running":  # a task that was sent meanwhile is never answered
                    raise self._lost(ConnectionError("the connection was closed")) from error
                alone_since = None if self._has_workers() else alone_since or time.monotonic()
                if alone_since is not None and time.monotonic() - alone_since > WORKERLESS_S:
                    raise self._workerless(WORKERLESS_S) from error
            except CancelledError as error:
                raise self._lost(error) from error
            except KilledWorker as error:
                cause = f"{error.allowed_failures + 1} workers of {self._where} died one after the other on one task"
                raise RetryableError(cause, "look whether memory ran out; give workers more") from error
            except Exception as error:
                raise task_failure(error) from error
            else:
                return result

    def _workers(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._client.scheduler_info(n_workers=-1).get("workers", {})
        except Exception as error:
            raise self._lost(error) from error
        return found

    def _has_workers(self) -> bool:
        return bool(self._workers())

    def _wait_for_workers(self, patience_s: float) -> None:
        try:
            self._client.wait_for_workers(1, timeout=patience_s)
        except TimeoutError as error:
            raise self._workerless(patience_s) from error
        except Exception as error:
            raise self._lost(error) from error

    def _check_versions(self) -> None:
        """RetryableError if a worker has another version than this process, or none."""
        mine = own_version()
        for worker, found in self._ask(metadata.version, "dreamcatcherd").items():
            if found != mine:
                theirs = "no dreamcatcherd" if isinstance(found, Exception) else f"dreamcatcherd {found}"
                cause = f"the worker {worker} has {theirs}, and this is {mine}"
                raise RetryableError(cause, f"install dreamcatcherd {mine} on every worker of {self._where}")

    def _shared(self, folder: Path | None, probe: str | None) -> bool:
        """Whether every worker finds an object of the repository in the same folder."""
        if folder is None or probe is None:
            return False
        found = self._ask(has_object, str(folder), probe)
        return bool(found) and all(one is True for one in found.values())

    def _ask(self, function: Any, *arguments: object) -> dict[str, Any]:
        """What a function gives on every worker; where it raises, the error."""
        try:
            answers: dict[str, Any] = self._client.run(function, *arguments, on_error="return")
        except Exception as error:
            raise self._lost(error) from error
        return answers

    def _workerless(self, waited_s: float) -> RetryableError:
        cause = f"{self._where} has had no workers for {waited_s:.0f} s"
        return RetryableError(cause, "start workers: dask worker ADDRESS; or use the engine processes")

    def _lost(self, error: BaseException) -> RetryableError:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        remedy = "look whether it runs, and at its address and certificates in [engine]; or use the engine processes"
        return RetryableError(f"the scheduler {self._where} is lost or cannot be reached: {said}", remedy)


def own_version() -> str:
    """The version of this process. A constant of the package would not do: workers are asked for what is installed."""
    return metadata.version("dreamcatcherd")


def has_object(folder: str, oid: str) -> bool:
    """Whether this machine has a repository in a folder that holds an object; for workers."""
    from dreamcatcherd.git.repository import Repository

    return os.path.isdir(folder) and Repository(Path(folder)).holds(oid)  # noqa: PTH112 (one call)


def security_of(ca_file: Path | None, certificate: Path | None, key: Path | None) -> Security | None:
    """What Dask's connections are encrypted with; None without certificates."""
    if ca_file is None or certificate is None or key is None:
        return None
    found: Security = _Security(
        tls_ca_file=str(ca_file), tls_client_cert=str(certificate), tls_client_key=str(key), require_encryption=True
    )
    return found
