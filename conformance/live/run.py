"""Runs the live tests that ship in the source distribution of azure-keyvault-keys, unmodified, against running pools.

`run.py FOLDER [ARGUMENT...]`: FOLDER is the unpacked source distribution, the arguments go to pytest. `cases.txt` names
every Managed HSM case of every file and what is expected of it; a case that it does not name, that it names and that is
gone, or that is awaited and passes, fails the run. The tests sleep much, so parts of them run side by side, each with a
pool and a process of its own.
"""

import os
import pathlib
import subprocess
import sys
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "python")]

import loopback  # noqa: E402,F401  names under .localhost lead here
import pytest  # noqa: E402

from pool import running_pool  # noqa: E402
from wire import Wire  # noqa: E402

# What runs side by side; files that are not named here are a part of their own.
PARTS = {
    "keys": ("test_key_client.py", "test_samples_keys.py"),
    "keys_async": ("test_keys_async.py", "test_samples_keys_async.py"),
    "crypto": ("test_crypto_client.py", "test_examples_crypto.py"),
    "crypto_async": ("test_crypto_client_async.py", "test_examples_crypto_async.py"),
}
CRYPTO_USER = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/21dbd100-6940-42c2-9190-5d6cb909625b"


def read_cases(path):
    """Case to (`run` or `awaited` or `skipped`, reason)."""
    cases = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            expectation, case, *reason = line.split(None, 2)
            assert expectation in ("run", "awaited", "skipped") and case not in cases, line
            assert expectation == "run" or reason, f"no reason given: {line}"
            cases[case] = (expectation, reason[0] if reason else "")
    return cases


class Cases:
    """A pytest plugin that keeps the Managed HSM cases and compares each outcome with the list."""

    def __init__(self, expected):
        self.expected = expected
        self.outcomes = {}
        self.complaints = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        kept = [item for item in items if "_mhsm" in item.name]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
        found = {case_of(item.nodeid) for item in items}
        if config.option.keyword or config.option.collectonly:
            return
        self.complaints += [f"not in cases.txt: {case}" for case in sorted(found - set(self.expected))]
        self.complaints += [f"in cases.txt and not shipped: {case}" for case in sorted(set(self.expected) - found)]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        report = outcome.get_result()
        case = case_of(report.nodeid)
        expectation, _ = self.expected.get(case, ("run", ""))
        if report.failed and expectation == "awaited":
            report.outcome, report.wasxfail = "skipped", "awaited"
            self.outcomes[case] = "awaited"
        elif report.failed:
            self.outcomes[case] = "failed"
        elif report.skipped:
            self.outcomes.setdefault(case, "skipped")
            if expectation != "skipped":
                self.complaints.append(f"skipped, but expected to {expectation}: {case}")
        elif report.when == "call":
            self.outcomes.setdefault(case, "passed")
            if expectation != "run":
                self.complaints.append(f"passes, but is listed as {expectation}: {case}")

    @pytest.fixture(scope="session")
    @classmethod
    def test_proxy(cls):
        """The recording proxy, which a live run does without; the shipped `conftest.py` asks for it."""

    def pytest_sessionfinish(self, session):
        if self.complaints:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        for complaint in self.complaints:
            terminalreporter.write_line(complaint, red=True)
        listed = [case for case, what in self.outcomes.items() if what == "skipped" == self.expected.get(case, ("",))[0]]
        terminalreporter.write_line(f"{len(listed)} skipped as listed")


def case_of(nodeid):
    """File, function and parameters: `test_key_client.py::test_purge[2025-07-01_mhsm]`."""
    parts = nodeid.split("::")
    return f"{pathlib.PurePath(parts[0]).name}::{parts[-1]}"


def file_of(case):
    return case.split("::")[0]


def parts_of(source):
    """Every file of tests that is shipped, each in one part."""
    shipped = {path.name for path in (source / "tests").glob("test_*.py")}
    gone = {name for files in PARTS.values() for name in files} - shipped
    if gone:
        sys.exit(f"not shipped: {sorted(gone)}")
    return {**PARTS, "others": tuple(sorted(shipped.difference(*PARTS.values())))}


def main():
    source, arguments = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    parts = parts_of(source)
    if arguments[:1] == ["--part"]:
        sys.exit(run_part(source, parts[arguments[1]], arguments[2:]))
    stray = {file_of(case) for case in read_cases(HERE / "cases.txt")}.difference(*parts.values())
    if stray:
        sys.exit(f"cases.txt names cases of files that are not shipped: {sorted(stray)}")
    running = {
        part: subprocess.Popen(
            [sys.executable, __file__, str(source), "--part", part, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for part in parts
    }
    for part, process in running.items():
        print(f"--- {part} ---\n{process.communicate()[0]}", flush=True)
    sys.exit(any(process.returncode for process in running.values()))


def run_part(source, files, arguments):
    tests = source / "tests"
    sys.path.insert(0, str(tests))
    expected = {case: what for case, what in read_cases(HERE / "cases.txt").items() if file_of(case) in files}
    cases = Cases(expected)
    with running_pool() as pool:
        officer = pool.accounts["OFFICER"]
        admin = Wire(pool).as_account("ADMIN")
        path = f"/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        properties = {"roleDefinitionId": CRYPTO_USER, "principalId": officer.object_id}
        admin.put(path, {"properties": properties}).ok(201)
        os.environ.pop("AZURE_AUTHORITY_HOST", None)
        os.environ.update(
            AZURE_TEST_RUN_LIVE="true",
            AZURE_SKIP_LIVE_RECORDING="true",
            AZURE_KEYVAULT_URL=pool.url,
            AZURE_MANAGEDHSM_URL=pool.url,
            KEYVAULT_TENANT_ID=pool.tenant,
            KEYVAULT_CLIENT_ID=officer.client_id,
            KEYVAULT_CLIENT_SECRET=officer.client_secret,
            KEYVAULT_SKU="premium",
            AZURE_KEYVAULT_ATTESTATION_URL="https://attestation.managedhsm.localhost",
            # Not in AZURE_AUTHORITY_HOST: some cases look there and skip themselves off the public cloud.
            STRONGROOM_AUTHORITY=pool.authority,
            REQUESTS_CA_BUNDLE=pool.ca_file,
            SSL_CERT_FILE=pool.ca_file,
        )
        options = ["-q", "-ra", "--tb=short", "-p", "no:cacheprovider", "-c", str(HERE / "pytest.ini"), f"--rootdir={tests}"]
        status = pytest.main([*options, *arguments, *(str(tests / name) for name in files)], plugins=[cases])
        if status != 0:
            print(f"--- log of the pool ---\n{pool.log()[-20000:]}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
