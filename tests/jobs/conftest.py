"""Object storage for the tests of jobs."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer


@pytest.fixture
def s3() -> Iterator[dict[str, str]]:
    """An S3 server with an empty bucket ``data``, and the environment that leads to it."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    # Servers of one process share what they hold.
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    s3_client(environment).create_bucket(Bucket="data")
    yield environment
    server.stop()


def s3_client(environment: dict[str, str]) -> Any:
    """A client of the server that an environment leads to, whatever this process's own is."""
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the server, which this process reaches too."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    # File systems keep the credentials of when they were made.
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3_client(s3)
    s3fs.S3FileSystem.clear_instance_cache()
