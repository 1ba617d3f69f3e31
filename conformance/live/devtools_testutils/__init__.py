"""What the shipped tests import under this name, for live runs only: nothing is recorded and nothing is played back.

The tests of the SDK come without the package they share with the rest of its repository. This is our own, written
against what they call; it talks to the pool with the SDK's public credentials and clients.
"""

import functools
import inspect
import os
import zlib

import pytest
from azure.identity import ClientSecretCredential
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential


def is_live():
    """Always: there are no recordings here."""
    return True


def _nothing(*args, **kwargs):
    """Stands for the functions that prepare a recording."""


add_general_string_sanitizer = _nothing
add_oauth_response_sanitizer = _nothing
remove_batch_sanitizers = _nothing
set_bodiless_matcher = _nothing
set_custom_default_matcher = _nothing


def recorded_by_proxy(test):
    """Hands on the arguments that the test names, as the recording decorator does; a preparer passes more."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        return test(*args, **accepted(test, kwargs))

    return run


def accepted(test, kwargs):
    parameters = inspect.signature(test).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return kwargs
    return {name: value for name, value in kwargs.items() if name in parameters}


class AzureRecordedTestCase:
    """The base of every test class and preparer."""

    is_live = True
    in_recording = False

    @property
    def qualified_test_name(self):
        return os.environ["PYTEST_CURRENT_TEST"].split(" ")[0]

    def get_resource_name(self, name):
        """The same name each time one test asks, another for every other test and run."""
        made_from = f"{os.getpid()}:{self.qualified_test_name}:{name}"
        return f"{name}{zlib.crc32(made_from.encode()):08x}"

    def get_credential(self, client_class, **kwargs):
        kind = AsyncClientSecretCredential if kwargs.pop("is_async", False) else ClientSecretCredential
        return kind(
            os.environ["AZURE_TENANT_ID"],
            os.environ["AZURE_CLIENT_ID"],
            os.environ["AZURE_CLIENT_SECRET"],
            authority=os.environ["STRONGROOM_AUTHORITY"],
            # A private authority is not in the public list of instances.
            disable_instance_discovery=True,
            **kwargs,
        )

    def create_client_from_credential(self, client_class, credential, **kwargs):
        kwargs.setdefault("logging_enable", True)  # the cases that want no logging say so
        return client_class(credential=credential, **kwargs)

    def fail(self, message):
        pytest.fail(message)


class AzureMgmtPreparer:
    """The base of a preparer that no case run here uses; the tests only subclass it."""

    is_live = True

    def __init__(self, name_prefix, random_name_length, **kwargs):
        self.client_kwargs = kwargs
