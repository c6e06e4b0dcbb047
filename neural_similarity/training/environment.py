"""Where a run happens: versions, devices, commit, and the memory that the process took."""

import os
import platform
import resource
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf

from neural_similarity.config import REPOSITORY
from neural_similarity.version import __version__


def environment():
    """Versions, devices and commit: what a result needs beside its config."""
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    gpus = [device.get("device_name", "GPU") for device in details]
    return {
        "neural_similarity": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": " + ".join(gpus) if gpus else f"CPU, {_processor()}, {len(_cores())} cores",
    }


def commit():
    """The repository's commit, with `+` when the tree has changes; None outside git."""

    def git(*words):
        done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        head = git("rev-parse", "--short=10", "HEAD")
        return head and head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:  # no git here
        return None


def peak_memory_bytes():
    """The most memory this process has held: of the first GPU where there is one, resident otherwise."""
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    try:  # the other count also holds what the process was before exec, as large as whoever started it
        with open("/proc/self/status") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes * (1 if sys.platform == "darwin" else 1024)


def _cores():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
