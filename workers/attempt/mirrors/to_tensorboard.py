"""TensorBoard's event files: HOME/mirrors/tensorboard/NAME-EPOCH/; `tensorboard --logdir` shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event as Entry
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class EventFiles:
    """One run's folder."""

    def __init__(self, about: dict[str, Any]) -> None:
        folder = Path(about["folder"]) / "tensorboard" / f"{about['stage']}-{about['job']}-{about['epoch']}"
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(folder))
        told = {name: about[name] for name in ("job", "name", "tags", "parameters", "inputs")}
        self._text("parameters", json.dumps(told, indent=1, ensure_ascii=False))

    def metrics(self, phase: str, step: int, values: dict[str, float]) -> None:
        scalars = [Summary.Value(tag=f"{phase}/{name}", simple_value=value) for name, value in values.items()]
        self._writer.add_event(Entry(step=step, summary=Summary(value=scalars)))

    def end(self, state: str, values: dict[str, float], files: list[dict[str, Any]]) -> None:
        self.metrics("final", 0, values)
        self._text("result", json.dumps({"state": state, "files": files}, indent=1))
        self._writer.close()

    def _text(self, tag: str, text: str) -> None:
        kind = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[f"```\n{text}\n```".encode()])
        tensor.tensor_shape.dim.add(size=1)
        self._writer.add_event(Entry(summary=Summary(value=[Summary.Value(tag=tag, metadata=kind, tensor=tensor)])))


def begin(about: dict[str, Any]) -> EventFiles:
    return EventFiles(about)
