import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import s3fs

from tests.jobs.test_places import s3  # noqa: F401 - a fixture


@pytest.fixture
def bucket(s3, monkeypatch) -> Iterator[Any]:  # noqa: F811
    """A client of an S3 server with a bucket ``data``, which this process reaches too."""
    # Servers of one process share what they hold.
    urllib.request.urlopen(urllib.request.Request(f"{s3['AWS_ENDPOINT_URL']}/moto-api/reset", method="POST")).close()
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    # File systems keep the credentials of when they were made.
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    yield client
    s3fs.S3FileSystem.clear_instance_cache()
