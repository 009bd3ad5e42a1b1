"""A real sshd on 127.0.0.1 for one test module: its own keys and settings, run by whoever runs the tests."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from tests.processes import kill

ENVIRONMENT = ("LANG", "LC_ALL", "LC_CTYPE", "NO_COLOR")
"""What the client may send and the server takes over, as Debian's and Fedora's ssh do with the locale."""

_SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserRC no
UseDNS no
AcceptEnv {environment}
"""
_CLIENT = """\
Host *
HostName 127.0.0.1
Port {port}
IdentityFile {folder}/client_key
IdentityAgent none
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
GlobalKnownHostsFile none
StrictHostKeyChecking yes
BatchMode yes
ConnectTimeout 20
LogLevel ERROR
RequestTTY force
SendEnv {environment}
# A newer ssh hides the rhythm of typing behind packets of its own, which are not ours to count.
IgnoreUnknown ObscureKeystrokeTiming
ObscureKeystrokeTiming no
"""


def missing() -> str:
    """Why no sshd can be run here; empty where one can."""
    absent = [name for name in ("sshd", "ssh", "ssh-keygen") if _find(name) is None]
    if absent:
        return f"{' and '.join(absent)} not found: install OpenSSH's server and client"
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return f"user {os.getuid()} has no name to log in with"
    if os.getuid() != 0 and not _gives_its_ptys_to_group_tty():
        return "only root can give a session its terminal here: devpts is mounted without gid=tty"
    return ""


class Sshd:
    """A server that lets its own user in with one key, and ends with the process group that runs the tests.

    Raises AssertionError with its log when it does not start.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        port = _free_port()
        for name in ("host_key", "client_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        host_key = (folder / "host_key.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
        for name, text in (("sshd_config", _SERVER), ("ssh_config", _CLIENT)):
            (folder / name).write_text(text.format(port=port, folder=folder, environment=" ".join(ENVIRONMENT)))
        _make_the_folder_sshd_confines_itself_to(folder / "sshd_config")
        with (folder / "log").open("wb") as log:
            self.process = psutil.Popen(
                [_found("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_listens(port)

    def ssh(self, remote: str) -> tuple[str, ...]:
        """The command that runs a line of `sh` in a session with a terminal."""
        line = f"exec sh -c {shlex.quote(remote)}"
        return (_found("ssh"), "-F", str(self._folder / "ssh_config"), "here", line)

    def serving(self) -> list[psutil.Process]:
        """The server's processes, one or two for each session that is open."""
        return [each for each, name in self._descendants() if name.startswith("sshd")]

    def served(self) -> list[psutil.Process]:
        """Everything that runs in the open sessions."""
        return [each for each, name in self._descendants() if not name.startswith("sshd")]

    def close(self) -> None:
        """End the server and whatever still runs in its sessions."""
        kill((*self.process.children(recursive=True), self.process))
        self.process.wait()

    def _descendants(self) -> Iterator[tuple[psutil.Process, str]]:
        for each in self.process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                yield each, each.name()

    def _wait_until_it_listens(self, port: int) -> None:
        end = time.monotonic() + 20
        while True:
            assert self.process.poll() is None, f"sshd left:\n{(self._folder / 'log').read_text()}"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < end, f"sshd does not answer:\n{(self._folder / 'log').read_text()}"
                time.sleep(0.02)


def _find(name: str) -> str | None:
    # sshd runs only by its whole path, and is often in a folder that is not searched.
    return shutil.which(
        name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    )


def _found(name: str) -> str:
    path = _find(name)
    assert path is not None, f"{name} not found"
    return path


def _run(name: str, *arguments: str) -> None:
    subprocess.run([_found(name), *arguments], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _gives_its_ptys_to_group_tty() -> bool:
    """Whether a new pty has the group sshd wants it to have, which only root could change."""
    ours, theirs = os.openpty()
    try:
        return os.fstat(theirs).st_gid == grp.getgrnam("tty").gr_gid
    except KeyError:
        return True
    finally:
        os.close(ours)
        os.close(theirs)


def _make_the_folder_sshd_confines_itself_to(config: Path) -> None:
    """An sshd run by root wants an empty folder, which the system makes only when it starts its own."""
    command = [_found("sshd"), "-t", "-f", str(config)]
    complaint = subprocess.run(command, check=False, capture_output=True, text=True).stderr
    wanted = re.search(r"Missing privilege separation directory: (\S+)", complaint)
    if wanted and os.getuid() == 0:
        Path(wanted[1]).mkdir(mode=0o755, parents=True)
