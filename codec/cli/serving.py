"""`codec serve`: codecs -> a server on a port."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli.common import silence_libraries
from codec.show.console import progress

if TYPE_CHECKING:
    from codec.serve.models import Served
    from codec.serve.mqtt import Mqtt


def serve(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Codecs to serve.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="Lines `device-id token`; without it everyone may ask.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="File that keeps replies, for requests that come again.")
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option(help="A broker to serve too: mqtt://user@host, mqtts:// for TLS.")
    ] = None,
    mqtt_password_file: Annotated[
        Path | None, typer.Option(help="File with the password at the broker.")
    ] = None,
    uplink_codec: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PORT=]NAME[:TASK[:QUESTION]]",
            help="What LoRaWAN uplinks at the broker are, by FPort; repeated for more.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where the models run: cpu, cuda.")] = "cpu",
    pictures: Annotated[bool, typer.Option(help="Take pictures too: the uncut model.")] = True,
    shadow: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of pictures that the codec answers too, to compare."
        ),
    ] = 0.0,
    ray: Annotated[
        bool, typer.Option("--ray", help="Several copies behind Ray's proxy: the extra `ray`.")
    ] = False,
    ray_config: Annotated[
        Path | None, typer.Option(help="Config of Ray Serve: copies, autoscaling, timeouts.")
    ] = None,
) -> None:
    """Answer blobs over HTTP, and over MQTT where a broker is named, until Ctrl-C. Needs the extra
    `serve`, and for MQTT `mqtt`.

    Without tokens it listens on this machine alone.
    """
    silence_libraries()
    if ray_config is not None and not ray:
        raise ValueError("--ray-config is for --ray")
    try:
        from codec.serve.app import OPEN, create_app
        from codec.serve.running import run
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'task-codec[serve]'") from error
    from codec.pipeline import Server
    from codec.serve.models import Served
    from codec.serve.replies import Replies
    from codec.serve.settings import Limits
    from codec.serve.tokens import read_tokens

    tokens = OPEN if token_file is None else read_tokens(token_file)
    if not len(tokens) and not _is_own(host):
        raise ValueError(f"{host} can be reached by others: name a --token-file")
    if (tls_cert is None) != (tls_key is None):
        raise ValueError("--tls-cert and --tls-key belong together")
    for file in (tls_cert, tls_key):
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")
    if mqtt is None and (uplink_codec or mqtt_password_file):
        raise ValueError("--uplink-codec and --mqtt-password-file belong to --mqtt")
    tls: dict[str, str] = {}
    if tls_cert is not None and tls_key is not None:
        tls = {"ssl_certfile": str(tls_cert), "ssl_keyfile": str(tls_key)}
    if ray:
        if mqtt is not None:
            raise ValueError("--mqtt is for one server: each copy would answer every message")
        from codec.cli.scaling import serve_copies

        asked = {"device": device, "pictures": pictures, "shadow": shadow}
        http = {"host": host, "port": port} | tls
        serve_copies(names, ray_config, http, state, token_file, asked)
        return
    with progress("loading", len(names)) as step:
        codecs = []
        for name in names:
            codecs.append(Served(Server.from_pretrained(name, device=device), pictures))
            step()
    listening = None
    if mqtt is not None:
        listening = _at_broker(mqtt, mqtt_password_file, uplink_codec or [], codecs, state)
    limits, replies = Limits(shadow=shadow), None if state is None else Replies(state)
    run(create_app(codecs, tokens, limits, replies, listening), host, port, **tls)


def _at_broker(
    url: str,
    password_file: Path | None,
    rules: list[str],
    codecs: list[Served],
    state: Path | None,
) -> Mqtt:
    """How the server is on its broker."""
    from codec.link.broker import broker_at

    try:
        from codec.serve.mqtt import Mqtt
        from codec.serve.uplinks import rule_in
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'task-codec[mqtt]'") from error
    password = None if password_file is None else password_file.read_text().strip()
    served = {one.name: one for one in codecs}
    return Mqtt(broker_at(url, password), [rule_in(rule, served) for rule in rules], state)


def _is_own(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
