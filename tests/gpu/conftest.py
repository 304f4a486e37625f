"""The small models of the science's tests, here too."""

from tests.alignment.conftest import folders as folders
from tests.alignment.conftest import recorder as recorder
