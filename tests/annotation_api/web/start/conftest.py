"""One of each input that a job can have."""

from tests.annotation_api.jobs.conftest import things as things
