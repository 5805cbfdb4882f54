"""config of Ray Serve, and what is served -> copies of the server behind Ray's proxy, until they
are stopped: a Ray on this machine alone.

A cluster of several machines has its Ray already: there `serve deploy` takes the same config.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.serve.schema import ServeDeploySchema
from ray.serve.scripts import cli

from codec.serve.cluster import NAME, Arguments

SHIPPED = Path(__file__).with_name("ray.yaml")
START_S = 600.0
"""So long the first copies may take to load their models."""
SHARED_BYTES = 1 << 27
"""Of memory that Ray's processes share; the messages here are small."""


def merged(file: Path, arguments: Arguments, http: Mapping[str, Any]) -> dict[str, Any]:
    """A config with what a command says in it.

    Args:
        file: the config, YAML.
        arguments: take the place of `args`.
        http: takes the place of the same members of `http_options`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no config of Ray Serve, or not of one application that is this server's.
    """
    try:
        config = yaml.safe_load(file.read_text())
        applications = ServeDeploySchema.model_validate(config).applications
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"{file} is no config of Ray Serve: {error}") from error
    if [one.import_path for one in applications] != [NAME]:
        raise ValueError(f"{file}: name one application, with import_path: {NAME}")
    application = config["applications"][0] | {"args": arguments.model_dump()}
    options = (config.get("http_options") or {}) | dict(http)
    return dict(config | {"http_options": options, "applications": [application]})


def run(config: Mapping[str, Any]) -> None:
    """Serve until Ctrl-C or SIGTERM: on the Ray at `RAY_ADDRESS`, whose configured applications
    these copies replace; without it on a Ray of its own, which ends with it.

    Args:
        config: of `merged`.

    Raises:
        OSError: the server could not start; the message says why.
    """
    address = os.environ.get("RAY_ADDRESS", "local")
    own: dict[str, Any] = {}
    if address == "local":
        own = {"include_dashboard": False, "object_store_memory": SHARED_BYTES}
    try:
        ray.init(address, namespace="serve", log_to_driver=False, logging_level="error", **own)
    except Exception as error:  # Ray raises it without a class of its own
        raise OSError(f"Ray could not start: {error}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray's own prints a trace
    name = config["applications"][0]["name"]
    try:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "config.yaml"
            file.write_text(yaml.safe_dump(dict(config)))
            cli.main(["run", "--non-blocking", str(file)], standalone_mode=False)
        _wait(name)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        serve.delete(name)
        if own:
            serve.shutdown()
        ray.shutdown()


def _wait(name: str) -> None:
    """Wait until an application runs.

    Raises:
        OSError: it does not.
    """
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        found = serve.status().applications.get(name)
        if found is not None and found.status == "RUNNING":
            return
        if found is not None and found.status == "DEPLOY_FAILED":
            raise OSError(f"the server could not start: {found.message}")
        time.sleep(0.2)
    raise OSError(f"the server has not started within {START_S:g} seconds")
