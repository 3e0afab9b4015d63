"""Real Redis and PostgreSQL servers on loopback, each with a data folder of its own, to be killed and started again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T", bound="Server")

# Whoever starts a server may be killed before it can stop it: this one sees the pipe end, and cleans up.
KEEPER = 'cat; kill -QUIT "$(cat "$0/pid")"; sleep 1; kill -KILL "$(cat "$0/pid")"; rm -rf "$0"'
EMPTY_DATABASE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
END $$;
CREATE SCHEMA public;
"""


class MissingServerError(Exception):
    """A server's package is not installed; the text says what to type."""


class Server:
    """A process that runs in `folder` and answers on `port`. Every kind of it says how it is asked and ended."""

    def __init__(self, folder: Path, *, user: str | None = None) -> None:
        self.port = free_port()
        self._folder = folder
        self._user = user
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        keeper = ["sh", "-c", KEEPER, str(folder)]
        self._keeper = subprocess.Popen(
            keeper, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def restart(self) -> None:
        """Start again on the same port with the same data, after the end of the one that ran, if one did."""
        self.kill()
        with self._log.open("ab") as sink:
            self._process = self._spawn(self._command(), sink)
        (self._folder / "pid").write_text(str(self._process.pid))
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"{self._command()[0]} did not start:\n{said}")
            time.sleep(0.01)

    def kill(self) -> None:
        """`kill -9`, for all of its processes at once. What it had not written is lost."""
        if self._process is None:
            return
        family = self.pause()
        for pid in family:
            _send(pid, signal.SIGKILL)
        self._process.wait()
        while any(_alive(pid) for pid in family):
            time.sleep(0.001)
        self._process = None

    def pause(self) -> list[int]:
        """`SIGSTOP`, for all of its processes: connections stay open and nobody answers. Returns their ids."""
        assert self._process is not None, "the server was killed"
        # The parent first: from there on it starts no more children.
        _send(self._process.pid, signal.SIGSTOP)
        family = [self._process.pid, *_children(self._process.pid)]
        for pid in family:
            _send(pid, signal.SIGSTOP)
        return family

    def resume(self) -> None:
        """`SIGCONT` for all that were paused."""
        assert self._process is not None, "the server was killed"
        for pid in (*_children(self._process.pid), self._process.pid):
            _send(pid, signal.SIGCONT)

    def revive(self) -> None:
        """See that it runs, whatever the test before has done to it."""
        if self._process is None or self._process.poll() is not None:
            self.restart()
        else:
            self.resume()

    def stop(self) -> None:
        """End it for good, and take its data away."""
        if self._process is not None:
            self.resume()
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.kill()
        self._keeper.kill()
        self._keeper.communicate()
        shutil.rmtree(self._folder)

    def _spawn(self, command: Sequence[str], sink: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,  # an interrupted test run ends it in `stop`, not before
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


class RedisServer(Server):
    """Redis, or Valkey, that appends each write to a file.

    Args:
        fsync: When that is flushed: `everysec`, as most are run, or `always`. With the first, writes wait while a flush
            to a slow disk is still running, for up to two seconds, and a kill then loses what was answered.
    """

    def __init__(self, folder: Path, program: str, fsync: str) -> None:
        self._program = program
        self._fsync = fsync
        super().__init__(folder)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.restart()

    def empty(self) -> str:
        """Forget all data. Returns the URL."""
        self.revive()
        assert self._ask(b"FLUSHALL") == b"+OK"
        return self.url

    def _command(self) -> list[str]:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        return [self._program, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _answers(self) -> bool:
        # While it reads its file it says so in an error.
        return self._ask(b"PING") == b"+PONG"

    def _ask(self, command: bytes) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(command + b"\r\n")
                return connection.recv(100).strip()
        except ConnectionError:
            return b""


class PostgresServer(Server):
    """PostgreSQL with durable settings, whose superuser `postgres` needs no password."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._programs = programs
        # It refuses to run as root.
        super().__init__(folder, user="postgres" if os.geteuid() == 0 else None)
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        if self._user is not None:
            shutil.chown(folder, self._user)
        initdb = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust"]
        with self._log.open("ab") as sink:
            code = self._spawn([*initdb, "--no-sync", "--no-locale", "-E", "UTF8"], sink).wait()
        if code:
            raise RuntimeError(f"initdb failed:\n{self._log.read_text(errors='replace')[-2000:]}")
        self.restart()

    def empty(self) -> str:
        """Close all connections and drop all schemas. Returns the URL."""
        self.revive()
        self.run(EMPTY_DATABASE)
        return self.url

    def run(self, statements: str) -> str:
        """Run SQL as the superuser, each statement for itself. Returns what `psql` prints: bare values."""
        command = [str(self._programs / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url]
        done = subprocess.run(command, input=statements, capture_output=True, text=True, check=False, timeout=30)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "16MB",
            "jit": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-p", str(self.port), *options]

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0


@contextmanager
def redis_server(name: str = "redis-server", *, fsync: str = "everysec") -> Iterator[RedisServer]:
    """A Redis server (or `valkey-server`), for as long as the block runs.

    Raises:
        MissingServerError: It is not installed.
    """
    program = shutil.which(name, path=_search_path())
    if program is None:
        raise MissingServerError(f"{name} is not installed: apt-get install {name}")
    with _ended(RedisServer(_folder(), program, fsync)) as server:
        yield server


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server, for as long as the block runs.

    Raises:
        MissingServerError: It is not installed.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(4))
    program = shutil.which("initdb", path=os.pathsep.join([_search_path(), *map(str, reversed(found))]))
    if program is None:
        raise MissingServerError("postgresql is not installed: apt-get install postgresql")
    with _ended(PostgresServer(_folder(), Path(program).resolve().parent)) as server:
        yield server


def free_port() -> int:
    """A port that nobody listens on.

    It lies below those that the system gives to clients: none of them takes it while a server is down, and none that
    tries to reach it then can be connected to itself.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@contextmanager
def _ended(server: T) -> Iterator[T]:
    try:
        yield server
    finally:
        server.stop()


def _folder() -> Path:
    # Not one of pytest's: nobody but their owner may pass through those, and PostgreSQL is another user.
    folder = Path(tempfile.mkdtemp(prefix="planar-server-"))
    folder.chmod(0o755)
    return folder


def _search_path() -> str:
    return os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin"


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # a child that ended by itself


def _stat(pid: int | str) -> list[str]:
    """State, parent and so on; empty for a process that is gone, and where there is no `/proc`."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _children(parent: int) -> list[int]:
    pids = [path.name for path in Path("/proc").glob("[0-9]*")]
    return [int(pid) for pid in pids if _stat(pid)[1:2] == [str(parent)]]


def _alive(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"])
