"""Faults of the network and of the Ray head: a second machine is a network namespace of this one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
from sqlalchemy import make_url

from annotation_api.db.tables import AttemptOutcome, JobState
from tests.journey.faults.ground import SLOW, Ground, NotHere, Seen, errors, seconds, succeeded
from tests.support.engine_room import poll
from tests.support.ray_head import Head

HERE, THERE, NAME = "10.231.7.1", "10.231.7.2", "rankloop-far"
NOBODY = "02:00:00:00:00:01"  # a network card
CUT_SECONDS = 60.0
STALLED_SECONDS = 20.0


class Far:
    """Another machine: its own network, with one cable to this one, and its own name."""

    def __init__(self, server: str) -> None:
        self._socket = f"{make_url(server).query['host']}/.s.PGSQL.5432"

    def __enter__(self) -> Far:
        self._ip(f"netns add {NAME}")
        self._ip(f"link add rl-here type veth peer name rl-there netns {NAME}")
        self._ip(f"addr add {HERE}/30 dev rl-here")
        self._ip("link set rl-here up")
        self._ip(f"-n {NAME} addr add {THERE}/30 dev rl-there")
        self._ip(f"-n {NAME} link set rl-there up")
        self._ip(f"-n {NAME} link set lo up")
        self._listener = socket.create_server((HERE, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._ip("link del rl-here")
        self._ip(f"netns del {NAME}")

    def command(self, *command: str) -> list[str]:
        """`command` as it is run over there."""
        script = 'hostname far && exec "$@"'
        return ["ip", "netns", "exec", NAME, "unshare", "--uts", "sh", "-c", script, "far", *command]

    def cut(self) -> None:
        """Frames go to a card that nobody has: they vanish without a word, both ways."""
        self._ip(f"neigh replace {THERE} lladdr {NOBODY} nud permanent dev rl-here")
        self._ip(f"-n {NAME} neigh replace {HERE} lladdr {NOBODY} nud permanent dev rl-there")

    def mend(self) -> None:
        self._ip(f"neigh del {THERE} dev rl-here")
        self._ip(f"-n {NAME} neigh del {HERE} dev rl-there")

    def _ip(self, command: str) -> None:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)

    def _accept(self) -> None:
        """Postgres listens on a private socket only: carry to it what comes over the cable."""
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._socket)
                for source, target in ((near, server), (server, near)):
                    threading.Thread(target=_carry, args=(source, target), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def cut_from_postgres(ground: Ground) -> Seen:
    """Another machine takes the job; the one that was cut off must not disturb it."""
    if os.geteuid():
        raise NotHere("a second network needs root")
    with ground.world() as world, Far(world.url) as far:
        job = world.job(SLOW)
        url = make_url(world.url).set(query={}, host=HERE, port=far.port).render_as_string()
        world.spawn(far.command(sys.executable, "-m", "tests.support.stub", "dispatcher"), RANKLOOP_DATABASE_URL=url)
        world.running(job)
        poll(lambda: world.checkpoints(job), "a checkpoint", world.report)
        actor = world.actor(job)
        far.cut()
        began = time.monotonic()
        world.dispatcher()
        noticed = seconds(lambda: "The lease could not be renewed" in world.report(), "the heartbeat to notice")
        poll(lambda: world.read(job).epoch == 2 and world.read(job).state is JobState.RUNNING, "another to run it")
        taken = time.monotonic() - began
        assert taken < CUT_SECONDS, f"{taken:.0f} s"
        before = world.told(job, epoch=1)
        far.mend()
        ended = seconds(lambda: not actor.is_running(), "the one that was cut off to end")
        assert world.read(job).epoch == 2
        world.hurry()
        lost = world.attempts(job)[0]
        assert lost.outcome is AttemptOutcome.LOST, lost.outcome
        said, kind = succeeded(world, job), errors(world, job)
        assert world.told(job, epoch=1) == before
    seen = f"noticed after {noticed}, another machine ran it after {taken:.0f} s; mended: the first ended after {ended}"
    return Seen(
        "packets between a dispatcher's machine and Postgres vanish",
        f"{seen} and wrote nothing; {said} gave the artifact",
        kind,
    )


def head_killed(ground: Ground) -> Seen:
    with Head(gpus=1) as head, ground.world(**head.environment) as world:
        job = world.job(SLOW, gpus=1.0, max_attempts=1)
        world.dispatcher()
        world.running(job)
        poll(lambda: world.checkpoints(job), "a checkpoint", world.report)
        head.kill()
        waits = seconds(lambda: world.read(job).state is JobState.QUEUED, "the job to be queued")
        world.hurry()
        head.start()
        said, (begin,), kind = succeeded(world, job), world.begins(job), errors(world, job)
    return Seen(
        "SIGKILL of GCS, raylet and all their workers",
        f"queued again after {waits}; new head: {said}, from step {begin}",
        kind,
    )


def head_silent(ground: Ground) -> Seen:
    """A head that is there and does not answer is a head behind a cut cable."""
    with Head(gpus=1) as head, ground.world(**head.environment) as world:
        job = world.job({"steps": 400, "seconds": 0.1, "save_every": 5}, gpus=1.0, max_attempts=1)
        world.dispatcher()
        world.running(job)
        servers = [
            one for one in psutil.Process(head.process.pid).children(recursive=True) if "gcs_server" in one.name()
        ]
        for one in servers:
            one.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        other = world.job({"steps": 2}, gpus=0.0)
        time.sleep(STALLED_SECONDS)  # the length of the fault, not a wait
        state, tries = world.read(job).state.value, len(world.attempts(job))
        for one in servers:
            one.send_signal(signal.SIGCONT)
        said = succeeded(world, job, other)
        taken, kind = time.monotonic() - began, errors(world, job)
    seen = f"meanwhile {state}, attempt {tries}; {said}, {taken:.0f} s after the stop"
    return Seen(f"Ray's head stopped (SIGSTOP) for {STALLED_SECONDS:.0f} s", seen, kind)


ROWS = {
    "network to Postgres cut": cut_from_postgres,
    "Ray head killed": head_killed,
    "Ray head silent": head_silent,
}
