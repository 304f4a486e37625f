"""The small models of the science's tests, here too."""

from tests.alignment.conftest import _plain_pages as _plain_pages
from tests.alignment.conftest import folders as folders
from tests.alignment.conftest import recorder as recorder
