"""Real git servers on 127.0.0.1, each a few child processes of the test: git daemon, nginx with git-http-backend, sshd.

One object serves one bare repository and says how to reach it: as a worker (`url`, `git_env`) and as a primary
(`config_lines`). It can go down and come back on the same port, freeze, turn credentials away, and stand behind a proxy
that fails on demand. `make packages` installs what they need."""

from __future__ import annotations

import getpass
import os
import secrets
import shlex
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from tests.e2e.processes import Processes
from tests.e2e.proxy import HOST, Proxy, hold_port, port_of
from tests.e2e.server_files import NGINX, OPENSSL, SSHD
from tests.e2e.tools import environment, git, need, program, wait_for


class Served:
    """A repository and the way to it. This one is the plain path: no server, nothing that could be down."""

    kind: ClassVar[str] = "path"
    programs: ClassVar[tuple[str, ...]] = ()
    user: str | None = None
    token_file: Path | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return str(self.repository)

    @property
    def config_lines(self) -> str:
        """TOML for `[repository]` of a primary's configuration."""
        keys = ("url", "user", "token_file", "ssh_key", "known_hosts", "ca_file")
        return "".join(f'{key} = "{value}"\n' for key in keys if (value := getattr(self, key)) is not None)

    @property
    def git_env(self) -> dict[str, str]:
        """What git needs in its environment to be let in."""
        return {}

    def start(self) -> None:
        """Serve; returns when connections are taken."""

    def stop(self) -> None:
        """End all its processes, and those of requests under way. Connections are refused then."""

    def close(self) -> None:
        """Stop, and give the port away."""
        self.stop()


class Server(Served, ABC):
    """What is served from a port. The port stays the same, and nobody else's, until `close`."""

    def __init__(self, repository: Path, folder: Path) -> None:
        super().__init__(repository, folder)
        self.processes = Processes(folder / "server.log")
        self._held = hold_port()
        self.port = self.public_port = port_of(self._held)
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Make keys, passwords and the like, once."""

    @abstractmethod
    def _commands(self) -> list[list[str]]:
        """The programs that serve, run in `folder`."""

    def start(self) -> None:
        for command in self._commands():
            self.processes.start([str(program(command[0])), *command[1:]], self.folder, environment())
        wait_for(self._answers)

    def _answers(self) -> bool:
        if not self.processes.alive():
            raise AssertionError((self.folder / "server.log").read_text())
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def stop(self) -> None:
        self.processes.stop()

    def close(self) -> None:
        self.stop()
        self._held.close()

    def freeze(self) -> None:
        """Hang: connections are accepted, by the kernel, and nothing answers any more."""
        self.processes.freeze()

    def thaw(self) -> None:
        self.processes.thaw()

    def lock_out(self) -> None:
        """Accept the credentials that clients hold no more."""
        raise AssertionError(f"{self.kind} asks for no credentials")

    def let_in(self) -> None:
        """Accept the credentials that clients hold again."""
        raise AssertionError(f"{self.kind} asks for no credentials")

    @contextmanager
    def proxied(self) -> Iterator[Proxy]:
        """Stand behind a proxy: `url` and all that goes with it lead there for as long as this lasts."""
        with Proxy(self.port) as proxy:
            self.public_port = proxy.port
            self._name_port()
            try:
                yield proxy
            finally:
                self.public_port = self.port

    def _name_port(self) -> None:
        """Tell clients about a new public port, where more than the URL names it."""


class GitServer(Server):
    """git daemon: anybody may push."""

    kind = "git"
    programs = ("git-daemon",)

    @property
    def url(self) -> str:
        return f"git://{HOST}:{self.public_port}/{self.repository.name}"

    def _prepare(self) -> None:
        pass

    def _commands(self) -> list[list[str]]:
        root = str(self.repository.parent)
        access = ["--export-all", "--enable=receive-pack", "--informative-errors", "--max-connections=0", "--verbose"]
        where = [f"--listen={HOST}", f"--port={self.port}", "--reuseaddr", f"--base-path={root}"]
        return [["git-daemon", "--log-destination=stderr", *access, *where, root]]


class HttpServer(Server):
    """nginx with a user and a password, and git-http-backend behind it."""

    kind = "http"
    programs: ClassVar[tuple[str, ...]] = ("nginx", "fcgiwrap", "git-http-backend")

    @property
    def url(self) -> str:
        return f"{self.kind}://{HOST}:{self.public_port}/{self.repository.name}"

    @property
    def git_env(self) -> dict[str, str]:
        """A credential helper that reads the token file at each request; the first, empty one forgets the system's."""
        answer = f'echo username={self.user}; echo password="$(cat {shlex.quote(str(self.token_file))})"'
        helper = f'!f() {{ if [ "$1" = get ]; then {answer}; fi; }}; f'
        settings = [("credential.helper", ""), ("credential.helper", helper)]
        if self.ca_file:
            settings.append(("http.sslCAInfo", str(self.ca_file)))
        found = {"GIT_CONFIG_COUNT": str(len(settings))}
        for number, (key, value) in enumerate(settings):
            found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return found

    def change_password(self, password: str) -> None:
        """Let the server accept this one alone, from the next request on. The token file stays as it is."""
        new = self.folder / "users.new"
        new.write_text(f"{self.user}:{{PLAIN}}{password}\n")
        new.replace(self.folder / "users")

    def lock_out(self) -> None:
        self.change_password(secrets.token_urlsafe(16))

    def let_in(self) -> None:
        self.change_password(self.password)

    def _prepare(self) -> None:
        self.user = "fleet"
        self.password = secrets.token_urlsafe(16)
        self.token_file = self.folder / "token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(self.password + "\n")
        self.let_in()
        self._configure(f"{HOST}:{self.port}", "")

    def _configure(self, listen: str, tls: str) -> None:
        backend, root = program("git-http-backend"), self.repository.parent
        text = NGINX.format(listen=listen, tls=tls, backend=backend, root=root)
        (self.folder / "nginx.conf").write_text(text)
        (self.folder / "tmp").mkdir(exist_ok=True)

    def _commands(self) -> list[list[str]]:
        """The socket between the two has a relative path, since an absolute one may be too long for a socket."""
        (self.folder / "fcgi.sock").unlink(missing_ok=True)
        nginx = ["nginx", "-e", "stderr", "-p", str(self.folder), "-c", "nginx.conf"]
        return [["fcgiwrap", "-f", "-c", "32", "-s", "unix:fcgi.sock"], nginx]

    def _answers(self) -> bool:
        folder = os.open(self.folder, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                there = probe.connect_ex(f"/proc/self/fd/{folder}/fcgi.sock") == 0
        finally:
            os.close(folder)
        return super()._answers() and there


def certify(folder: Path) -> tuple[Path, Path, Path]:
    """An authority of its own, and a certificate of 127.0.0.1 that it signed, with the key of that."""
    (folder / "openssl.cnf").write_text(OPENSSL)
    by_it = ("-CA", "ca.pem", "-CAkey", "ca.key")
    for name, subject, signer in (("ca", "/CN=fleet authority", ()), ("server", "/CN=fleet", by_it)):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
        what = ["-config", "openssl.cnf", "-extensions", name, "-subj", subject, "-days", "2", "-out", f"{name}.pem"]
        command = ["openssl", "req", "-x509", *key, *what, *signer]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder / "ca.pem", folder / "server.pem", folder / "server.key"


class HttpsServer(HttpServer):
    """The same with TLS; its certificate is signed by an authority that only `ca_file` knows."""

    kind = "https"
    programs = (*HttpServer.programs, "openssl")

    def _prepare(self) -> None:
        super()._prepare()
        self.ca_file, _, _ = certify(self.folder)
        self._configure(f"{HOST}:{self.port} ssl", "ssl_certificate server.pem; ssl_certificate_key server.key;")


class SshServer(Server):
    """sshd for the user who runs the tests, who logs in with a key."""

    kind = "ssh"
    programs = ("sshd", "ssh", "ssh-keygen")

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@{HOST}:{self.public_port}{self.repository}"

    @property
    def git_env(self) -> dict[str, str]:
        options = ["IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes", "StrictHostKeyChecking=yes"]
        options += [f"UserKnownHostsFile={self.known_hosts}", "GlobalKnownHostsFile=/dev/null"]
        words = ["ssh", "-F", "none", "-i", str(self.ssh_key)]
        return {"GIT_SSH_COMMAND": shlex.join(words + [word for option in options for word in ("-o", option)])}

    def lock_out(self) -> None:
        (self.folder / "authorized_keys").write_text("")

    def let_in(self) -> None:
        (self.folder / "authorized_keys").write_text((self.folder / "user_key.pub").read_text())

    def _prepare(self) -> None:
        for name in ("host_key", "user_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=300)
        self.ssh_key = self.folder / "user_key"
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.touch()
        self._name_port()
        self.let_in()
        config = self.folder / "sshd_config"
        config.write_text(SSHD.format(address=f"{HOST}:{self.port}", folder=self.folder, mark=self.processes.mark))
        with suppress(PermissionError):
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd as root does not start without it
        # newer ones ban an address for a while after a refused login; older ones do not know the word
        patient = "PerSourcePenalties no\n"
        test = [str(program("sshd")), "-t", "-f", str(config), "-o", patient.strip()]
        if subprocess.run(test, capture_output=True, check=False, timeout=300).returncode == 0:
            config.write_text(config.read_text() + patient)

    def _name_port(self) -> None:
        kind, key, _ = (self.folder / "host_key.pub").read_text().split()
        with (self.folder / "known_hosts").open("a") as file:
            file.write(f"[{HOST}]:{self.public_port} {kind} {key}\n")

    def _commands(self) -> list[list[str]]:
        return [["sshd", "-D", "-e", "-f", "sshd_config"]]


CLASSES: dict[str, type[Served]] = {
    found.kind: found for found in (Served, GitServer, HttpServer, HttpsServer, SshServer)
}
KINDS = ("path", "git", "http", "ssh")
SERVERS = ("git", "http", "https", "ssh")


@contextmanager
def serve(kind: str, repository: Path, folder: Path) -> Iterator[Served]:
    """Serve a bare repository; `folder` takes the server's own files. Skips, in CI fails, where programs lack."""
    need(*CLASSES[kind].programs)
    served = CLASSES[kind](repository, folder)
    try:
        served.start()
        yield served
    finally:
        served.close()


def install_hook(repository: Path, script: str) -> None:
    """Run a shell script as the pre-receive hook of every push; the repository's own hooks rest meanwhile."""
    hooks = repository / "other-hooks"
    hooks.mkdir(exist_ok=True)
    hook = hooks / "pre-receive"
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
    git(repository, "config", "core.hooksPath", str(hooks))


def remove_hook(repository: Path) -> None:
    git(repository, "config", "--unset", "core.hooksPath")


@contextmanager
def hooked(repository: Path, script: str) -> Iterator[None]:
    """`install_hook`, for as long as this lasts."""
    install_hook(repository, script)
    try:
        yield
    finally:
        remove_hook(repository)


def refusing(repository: Path, message: str) -> AbstractContextManager[None]:
    """Let a pre-receive hook refuse every push with a message; the repository's own hooks rest meanwhile."""
    return hooked(repository, f"echo {shlex.quote(message)} >&2\nexit 1")
