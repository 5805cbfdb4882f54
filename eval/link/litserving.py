"""blobs -> answers by LitServe (lightning.ai, Apache-2.0): the same codec behind another server, to
measure ours against.

Only an interpreter that has `litserve` imports this file; the project does not need it.
"""

from __future__ import annotations

import base64
import os
from typing import Any

import litserve

from eval.link.sample_requests import job

NAME = "TASKCODEC_LITSERVE_NAME"
"""The environment says to the worker, a process of its own, which codec it serves."""
WAIT_S = 0.01
"""How long a batch waits for more; LitServe's pages use between 0.01 and 0.1."""


class Answers(litserve.LitAPI):
    """The body is JSON, as LitServe has it, with the blob in base64."""

    def setup(self, device: str) -> None:
        """Load the codec."""
        from codec.pipeline import Server
        from codec.serve.models import Served

        self.served = Served(Server.from_pretrained(os.environ[NAME]), pictures=False)

    def decode_request(self, request: dict[str, str]) -> Any:
        """A body -> what is asked."""
        return job(self.served.verbs, base64.b64decode(request["blob"]))

    def predict(self, x: Any) -> Any:
        """A job, or a list of them -> the answers."""
        return self.served(x) if isinstance(x, list) else self.served([x])[0]

    def encode_response(self, output: Any) -> Any:
        """An answer is JSON already."""
        return output


def serve(name: str, port: int, batch: int) -> None:
    """Serve a codec, with batches of at most `batch`, from one worker and one HTTP process."""
    os.environ[NAME] = name
    api = Answers(max_batch_size=batch, batch_timeout=WAIT_S if batch > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        log_level="critical",
        generate_client_file=False,
    )
