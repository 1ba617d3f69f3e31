"""What `strongroom dev` prints to be copied: the environment and the programs work as they stand."""

import os
import re
import subprocess
import sys

import pytest

from pool import REPOSITORY
from wire import wait_until


@pytest.fixture(scope="module")
def banner(pool):
    """The text under each bold line that offers something to copy, and the environment."""
    wait_until(lambda: "Ctrl-C stops it." in pool.log())
    text = pool.log()[pool.log().index("Strongroom: pool") :]

    def under(heading):
        block = re.search(rf"^  {heading}[^\n]*\n((?:    [^\n]*\n)+)", text, re.MULTILINE)
        assert block, text
        return [line.removeprefix("    ") for line in block[1].splitlines()]

    return {what: under(what) for what in ("Environment", "Python", "JavaScript")}


@pytest.fixture(scope="module")
def environment(banner):
    """What a shell that knows nothing else has after the lines were pasted into it."""
    lines = [*banner["Environment"], "env -0"]
    bare = {"PATH": os.environ["PATH"]}
    pasted = subprocess.run(["bash", "-euc", "\n".join(lines)], env=bare, capture_output=True, check=True)
    return dict(pair.split("=", 1) for pair in pasted.stdout.decode().split("\0") if pair)


def test_the_programs_are_three_lines_long(banner):
    assert len(banner["Python"]) == len(banner["JavaScript"]) == 3


def test_the_program_in_python_makes_a_key(pool, banner, environment, owner):
    outcome = subprocess.run(
        [sys.executable, "-c", "\n".join(banner["Python"])], env=environment, capture_output=True, text=True, timeout=60
    )
    check(outcome, owner)


def test_the_program_in_javascript_makes_a_key(pool, banner, environment, owner, tmp_path):
    (tmp_path / "node_modules").symlink_to(REPOSITORY / "conformance" / "js" / "node_modules")
    (tmp_path / "hello.mjs").write_text("\n".join(banner["JavaScript"]))
    outcome = subprocess.run(
        ["node", "hello.mjs"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    check(outcome, owner)


def check(outcome, owner):
    """The program said the id of a key that is there, at the address that the banner gave it, and nothing else."""
    assert outcome.returncode == 0, outcome.stderr
    address, path = re.fullmatch(r"(https://[^/]+)(/keys/hello/[0-9a-f]{32})\n", outcome.stdout).groups()
    assert address.endswith(f":{owner.pool.port}")
    assert owner.get(path).ok()["key"]["crv"] == "P-256"
    owner.delete("/keys/hello").ok()
    owner.delete("/deletedkeys/hello").ok(204)
