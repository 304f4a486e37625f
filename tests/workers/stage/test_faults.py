"""What a stage raises becomes a kind, a cause and a next step, in the process in which it was raised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alignment.shared.config import Stage
from annotation_api.db.jobs.records import Again
from annotation_api.db.kinds import ErrorKind
from tests.support import stub
from workers.attempt.lease import EXIT_AWAY
from workers.dispatch import post_mortem
from workers.stage.faults import Fault, fault_of
from workers.stage.work import BufferedReporter, StageWork, perform


@pytest.mark.parametrize(
    "words",
    [
        "Gloo connectFullMesh failed with [../gloo/transport/tcp/pair.cc:144] no error",
        "[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.2]:31877",
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
    ],
)
def test_processes_that_lose_one_another_are_a_fault_of_the_cluster(
    words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the interface is named; a job that is hit by it is tried again."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    fault = fault_of(RuntimeError(words))
    assert (fault.kind, "eth7" in fault.next_step) == (ErrorKind.CLUSTER, True)
    assert fault.cause == f"The processes that train together lost one another: {words}"


def outcome(folder: Path, script: dict[str, Any]) -> Any:
    (folder / "script.json").write_text(json.dumps(script))
    return perform(StageWork(Stage.SFT, {}, {"model": folder}, folder, stub.run), BufferedReporter())


@pytest.mark.parametrize(
    ("fault", "kind", "cause"),
    [
        ("diverged", ErrorKind.DIVERGED, "The loss is not a number."),
        ("corrupt", ErrorKind.CORRUPT_CHECKPOINT, "a.bin differs."),
        ("memory", ErrorKind.OUT_OF_MEMORY, "The stage ran out of memory: the host has none left."),
        (
            "torch memory",
            ErrorKind.OUT_OF_MEMORY,
            "The stage ran out of memory: [enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes.",
        ),
        ("setting", ErrorKind.BAD_INPUT, "Setting /batchsize: Unknown key 'batchsize'. Did you mean 'batch_size'?"),
        ("disk", ErrorKind.DISK_FULL, "The disk is full: model.safetensors."),
        ("file size", ErrorKind.DISK_FULL, "The disk is full: File too large."),
        (
            "torch disk",
            ErrorKind.DISK_FULL,
            "A file could not be written: PytorchStreamWriter failed writing file data/0: file write failed",
        ),
        ("bug", ErrorKind.INTERNAL, "An unexpected ZeroDivisionError: a fault of ours"),
    ],
)
def test_a_fault_has_a_kind_a_cause_a_next_step_and_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, kind: ErrorKind, cause: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = outcome(tmp_path, {"steps": 3, "fault": fault})
    assert isinstance(found, Fault)
    assert (found.kind, found.cause) == (kind, cause)
    assert found.next_step
    assert found.traceback is not None
    assert "stub.py" in found.traceback


@pytest.mark.slow
def test_the_real_libraries_against_real_limits_of_the_system(tmp_path: Path) -> None:
    """A file that cannot grow is a full disk, whoever writes it; memory that cannot grow is memory."""
    code = """
import resource, safetensors.torch, torch
from workers.stage.faults import fault_of
zeros, room = torch.zeros(100_000), 64 * 1024
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
resource.setrlimit(resource.RLIMIT_AS, (used, used))
for fault in (
    lambda: torch.save(zeros, "a"),
    lambda: safetensors.torch.save_file({"zeros": zeros}, "b"),
    lambda: open("c", "wb").write(bytes(400_000)),
    lambda: torch.zeros(2**30),
    lambda: bytearray(2**31),
):
    try:
        fault()
    except Exception as error:
        print(fault_of(error).kind)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["disk_full"] * 3 + ["out_of_memory"] * 2, done.stderr


def test_an_exception_that_is_nobodys_is_ours() -> None:
    assert fault_of(KeyError("x")).kind is ErrorKind.INTERNAL


@pytest.mark.parametrize(
    ("code", "head_lost", "log", "kind", "again", "cause"),
    [
        (-9, False, "", ErrorKind.CRASH, Again.CRASH, "Process 7, which ran attempt 2, died of SIGKILL."),
        (1, False, "", ErrorKind.CRASH, Again.CRASH, "Process 7, which ran attempt 2, died with exit code 1."),
        (None, False, "", ErrorKind.CRASH, Again.CRASH, "Process 7, which ran attempt 2, died."),
        (1, True, "", ErrorKind.CLUSTER, Again.INTERRUPTED, "Attempt 2 lost the head of its Ray cluster."),
        (
            1,
            False,
            "E rpc_client.h:204: Failed to connect to GCS within 5 seconds.",
            ErrorKind.CLUSTER,
            Again.INTERRUPTED,
            "Attempt 2 lost the head of its Ray cluster.",
        ),
        (-40, False, "", ErrorKind.CRASH, Again.CRASH, "Process 7, which ran attempt 2, died of signal 40."),
        (
            EXIT_AWAY,
            False,
            "",
            ErrorKind.DATABASE,
            Again.INTERRUPTED,
            "Postgres stayed away for longer than attempt 2 could wait.",
        ),
    ],
)
def test_a_launcher_that_died_without_a_word_is_examined(
    code: int | None, head_lost: bool, log: str, kind: ErrorKind, again: Again, cause: str
) -> None:
    failure, budget = post_mortem.examine(7, 2, code, head_lost, log)
    assert (failure.kind, budget, failure.cause, failure.log) == (kind, again, cause, log)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory",
    ],
)
def test_a_library_of_the_gpu_that_gets_no_memory_is_out_of_memory(said: str) -> None:
    found = fault_of(RuntimeError(said))
    assert found.kind is ErrorKind.OUT_OF_MEMORY
    assert "micro_batch_size" in found.next_step
