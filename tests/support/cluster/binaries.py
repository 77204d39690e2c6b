"""
Find or build the programs of a Kubernetes cluster; the last line of output is their directory.

`KUBEBUILDER_ASSETS` is used where it holds them all.  Otherwise they are built from Go modules,
pinned by go.mod and go.sum beside this file, and cached outside of the checkout.  Go itself comes
from PyPI where the machine has none that is new enough.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time

from pathlib import Path
from typing import Final

from tests.support.golang import go, locked
from webhook.demo.cluster import (
    CONTROL_PLANE,
    KUBERNETES_VERSION,
    ClusterError,
    cache_directory,
    find_binaries,
)


_HERE: Final = Path(__file__).parent
_NODE: Final = ("kube-controller-manager", "kube-scheduler", "kubelet")
_PROGRESS_EVERY: Final = 10.0  # Seconds.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument(
        "--node", action="store_true", help="what runs Pods, too (kubelet, scheduler, ...)"
    )
    wanted = (*CONTROL_PLANE, *(_NODE if parser.parse_args().node else ()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print(_find_or_build(wanted))
    except KeyboardInterrupt:
        print("Interrupted; what was built so far is kept.", file=sys.stderr)
        return 130
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class BuildError(Exception):
    """
    A program could not be built; the message says what to do.
    """


def _find_or_build(wanted: tuple[str, ...]) -> Path:
    with contextlib.suppress(ClusterError):
        return find_binaries(wanted)
    if os.environ.get("KUBEBUILDER_ASSETS"):
        _say(f"KUBEBUILDER_ASSETS does not hold all of {', '.join(wanted)}.")
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / ".lock"):
        missing = [name for name in wanted if not os.access(directory / name, os.X_OK)]
        if missing:
            _say(
                f"Building {', '.join(missing)} from Go modules, once, into {directory}."
                " On two cores: etcd half a minute, kube-apiserver 5 minutes, all five 9."
            )
            for leftover in directory.glob(".*.partial"):
                leftover.unlink()
            for name in missing:
                _build(name, directory)
    return directory


def _build(name: str, directory: Path) -> None:
    """
    Build one program; under its own name it appears only when it is whole.
    """
    if name == "etcd":
        module, package, stamp = "etcd", "go.etcd.io/etcd/server/v3", ""
    else:
        module, package = "kubernetes", f"k8s.io/kubernetes/cmd/{name}"
        stamp = f" -X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}"
    partial = directory / f".{name}.partial"
    command = [
        *(go(), "build", "-v", "-trimpath", "-mod=readonly", "-buildvcs=false"),
        *("-ldflags", f"-s -w{stamp}", "-o", partial, package),
    ]
    log = directory / f"{name}.build.log"
    started = time.monotonic()
    try:
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=_HERE / module,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "GOFLAGS": "", "GOWORK": "off"},
            )
            try:
                _watch(process, name, log, started)
            finally:
                process.terminate()
                process.wait()
        if process.returncode != 0:
            end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise BuildError(f"{name} could not be built (all of it is in {log}):\n{end}")
        subprocess.run([partial, "--version"], check=True, capture_output=True)
        partial.rename(directory / name)
        log.unlink()
    finally:
        partial.unlink(missing_ok=True)
    _say(f"{name}: built in {_clock(started)}.")


def _watch(process: subprocess.Popen[bytes], name: str, log: Path, started: float) -> None:
    """
    Wait for Go's end; say now and then how far it is.
    """
    while True:
        try:
            process.wait(_PROGRESS_EVERY)
        except subprocess.TimeoutExpired:
            lines = log.read_text(errors="replace").splitlines()
            downloads = sum(line.startswith("go: downloading") for line in lines)
            compiled = sum(not line.startswith("go: ") for line in lines)
            _say(
                f"{name}: {_clock(started)}, {downloads} modules downloaded,"
                f" {compiled} packages compiled"
            )
        else:
            return


def _clock(started: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    return f"{minutes}:{seconds:02} min"


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
