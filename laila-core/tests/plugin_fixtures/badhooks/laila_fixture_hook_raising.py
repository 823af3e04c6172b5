"""A hook module that cannot be imported."""

import laila_fixture_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401
