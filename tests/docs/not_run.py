"""Commands on the pages that no test runs, and why."""

from __future__ import annotations

from typing import Final

NOT_RUN: Final = {
    "make test": "it is what runs this test",
    "pip install .": "it needs a package index; `make test` has done the same before this test runs",
}
"""Command as it stands on a page: the reason.  A test holds each of them to be on some page."""
