"""One running pool for a test run, over the contract of `strongroom dev`; or several, of `strongroom serve`.

As a module: `with running_pool() as pool: ...`, `with served_pools(...) as pools: ...`. As a program: `pool.py [--] COMMAND...` starts a pool, runs the
command with the pool's address and accounts in its environment, stops the pool, and ends with the command's status.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
ACCOUNTS = ("ADMIN", "OFFICER", "USER", "AUDITOR", "NOBODY")
NAMES = (
    "STRONGROOM_POOL_URL",
    "STRONGROOM_CA_FILE",
    "STRONGROOM_AUTHORITY",
    "STRONGROOM_TENANT_ID",
    *(f"STRONGROOM_{name}_{part}" for name in ACCOUNTS for part in ("CLIENT_ID", "CLIENT_SECRET", "OBJECT_ID")),
)
START_SECONDS = 30
STOP_SECONDS = 10


@dataclasses.dataclass(frozen=True)
class Account:
    """A ready account of the built-in issuer."""

    client_id: str
    client_secret: str
    object_id: str


@dataclasses.dataclass(frozen=True)
class Pool:
    """A running pool: where it is, whom it trusts, who may call it."""

    url: str
    ca_file: str
    authority: str
    tenant: str
    accounts: dict
    environment: dict
    process: subprocess.Popen
    log_file: pathlib.Path

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    @property
    def host(self):
        return self.url.removeprefix("https://").rsplit(":", 1)[0]

    @property
    def resource(self):
        """The audience of tokens: the pool's address without its first label, the port included."""
        return "https://" + self.url.removeprefix("https://").split(".", 1)[1]

    def log(self):
        return self.log_file.read_text(errors="replace")


class PoolDidNotStart(Exception):
    """The program ended, or said nothing in time; the message holds its log."""


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _read_environment(path):
    """The `NAME=value` lines of the file, or None while not all of them are there."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    if not text.endswith("\n"):
        return None
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return values if all(name in values for name in NAMES) else None


def _stop(process):
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _program():
    return os.environ.get("STRONGROOM_BIN", str(REPOSITORY / "target" / "release" / "strongroom"))


@contextlib.contextmanager
def _running(command, log_file, ready):
    """The command, in a process group of its own; begins when `ready` returns something, and yields it with the process."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while (found := ready()) is None:
            if process.poll() is not None:
                raise PoolDidNotStart(f"{command} ended with {process.returncode}\n{log_file.read_text()}")
            if time.monotonic() > deadline:
                raise PoolDidNotStart(f"{command} was not ready in {START_SECONDS} s\n{log_file.read_text()}")
            time.sleep(0.02)
        yield process, found
        if process.poll() is not None:
            raise PoolDidNotStart(f"the pool ended during the tests with {process.returncode}\n{log_file.read_text()}")
    finally:
        _stop(process)


def _pool(values, process, log_file):
    return Pool(
        url=values["STRONGROOM_POOL_URL"],
        ca_file=values["STRONGROOM_CA_FILE"],
        authority=values["STRONGROOM_AUTHORITY"],
        tenant=values["STRONGROOM_TENANT_ID"],
        accounts={
            name: Account(
                values[f"STRONGROOM_{name}_CLIENT_ID"],
                values[f"STRONGROOM_{name}_CLIENT_SECRET"],
                values[f"STRONGROOM_{name}_OBJECT_ID"],
            )
            for name in ACCOUNTS
        },
        environment=values,
        process=process,
        log_file=log_file,
    )


@contextlib.contextmanager
def running_pool(*arguments):
    """A fresh pool in memory on a free port; further arguments go to `strongroom dev`."""
    with tempfile.TemporaryDirectory(prefix="strongroom-test-") as folder:
        env_file, log_file = pathlib.Path(folder, "env"), pathlib.Path(folder, "log")
        command = [_program(), "dev", "--ephemeral", "--port", str(_free_port())]
        command += ["--env-file", str(env_file), *arguments]
        with _running(command, log_file, lambda: _read_environment(env_file)) as (process, values):
            yield _pool(values, process, log_file)


@contextlib.contextmanager
def served_pools(settings, *more):
    """Fresh pools of one `strongroom serve`, by name: `settings` are the lines of each one's table in the configuration,
    `more` lines that stand before the tables.

    Certificates and accounts are made by a development node that does its first job and ends; its ADMIN is the
    administrator, and no other account has a role.
    """
    with tempfile.TemporaryDirectory(prefix="strongroom-test-") as folder:
        folder = pathlib.Path(folder)
        made, data, port = folder / "made", folder / "data", _free_port()
        command = [_program(), "dev", "--once", "--port", str(port), "--data", str(made), "--env-file", str(folder / "env")]
        subprocess.run(command, check=True, capture_output=True)
        values = _read_environment(folder / "env")
        data.mkdir(mode=0o700)
        shutil.copytree(made / "issuer", data / "issuer")
        shutil.copy(made / "version", data / "version")
        lines = [
            f'listen = ["127.0.0.1:{port}"]',
            f'data_folder = "{data}"',
            f'tls = {{ certificate = "{made}/tls/server.pem", key = "{made}/tls/server-key.pem" }}',
            f'seal = {{ kind = "key-file", key_file = "{folder}/node.key" }}',
            "issuer.enabled = true",
            f'pool_defaults.tenant = "{values["STRONGROOM_TENANT_ID"]}"',
            f'pool_defaults.administrators = ["{values["STRONGROOM_ADMIN_OBJECT_ID"]}"]',
            *more,
        ]
        lines += [line for name, table in settings.items() for line in (f"[pools.{name}]", *table)]
        configuration = folder / "strongroom.toml"
        configuration.write_text("\n".join(lines) + "\n")

        def ready():
            status = subprocess.run([_program(), "status", "--config", str(configuration)], capture_output=True)
            return True if status.returncode == 0 else None

        command = [_program(), "serve", "--config", str(configuration)]
        with _running(command, folder / "log", ready) as (process, _):
            urls = {name: f"https://{name}.managedhsm.localhost:{port}" for name in settings}
            yield {
                name: _pool({**values, "STRONGROOM_POOL_URL": url}, process, folder / "log") for name, url in urls.items()
            }


def client_environment(pool):
    """The environment that real clients need: trust, authority, and the pool's own names."""
    return {
        **os.environ,
        **pool.environment,
        "AZURE_AUTHORITY_HOST": pool.authority,
        "NODE_EXTRA_CA_CERTS": pool.ca_file,
        "REQUESTS_CA_BUNDLE": pool.ca_file,
        "SSL_CERT_FILE": pool.ca_file,
    }


def main():
    command = sys.argv[1:]
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        sys.exit("usage: pool.py [--] COMMAND...")
    try:
        with running_pool() as pool:
            status = subprocess.run(command, env=client_environment(pool)).returncode
            if status != 0:
                sys.stderr.write(f"--- log of the pool ---\n{pool.log()[-20000:]}\n")
    except PoolDidNotStart as error:
        sys.exit(str(error))
    sys.exit(status)


if __name__ == "__main__":
    main()
