"""The asynchronous half."""

import functools

from devtools_testutils import accepted


def recorded_by_proxy_async(test):
    """See `devtools_testutils.recorded_by_proxy`."""

    @functools.wraps(test)
    async def run(*args, **kwargs):
        return await test(*args, **accepted(test, kwargs))

    return run
