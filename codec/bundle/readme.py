"""manifest of a bundle -> the bundle's README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codec.bundle.targets import find_target
from codec.tasks import CAPTIONS, LABELS, QUESTIONS

DECODE = {
    LABELS: "--answer",
    CAPTIONS: "--caption",
    QUESTIONS: '--ask "What colour is it?"',
}
"""How the server's command is told what to make of a blob, by task."""
ANSWER = {
    LABELS: "server(data, top_k=1)[0]",
    CAPTIONS: "server.caption(data)",
    QUESTIONS: 'server.answer(data, "What colour is it?")',
}
"""The same in Python."""


def bundle_readme(manifest: dict[str, Any]) -> str:
    """The text of a bundle's README.md: `readme.md` with the manifest's values in its places."""
    target = find_target(manifest["target"])
    text = (Path(__file__).parent / "readme.md").read_text(encoding="utf-8")
    runtime = "pip install numpy pillow onnxruntime"
    if target.tensorrt is not None:
        runtime += "     # or TensorRT as JetPack installs it (below), with numpy and pillow alone"
    before, _, rest = text.partition("<!-- tensorrt -->\n")
    about_tensorrt, _, after = rest.partition("<!-- end -->\n")
    text = before + (about_tensorrt if target.tensorrt is not None else "") + after
    tasks = manifest["task"].split(", ")
    values = {
        "name": manifest["name"],
        "decode": " and ".join(f"`codec decode photo.blob {DECODE[task]}`" for task in tasks),
        "answer": ANSWER[tasks[0]],
        "target": manifest["target"],
        "device": target.device,
        "opset": str(target.opset),
        "runtime": runtime,
    }
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return text
