"""Where a run happens: versions, device and commit; and how much memory the process took."""

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


def environment() -> dict[str, str | None]:
    """Versions, device and commit as texts by name: what a result must tell besides its config."""
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


def commit() -> str | None:
    """The first ten hex digits of the repository's commit, and a `+` if files were changed since; None without git."""

    def git(*words):
        done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        head = git("rev-parse", "--short=10", "HEAD")
        return head and head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:  # git is not installed
        return None


def peak_memory_bytes() -> int:
    """The most memory that this process has held so far, in bytes: on the first GPU, else in main memory."""
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    # Linux: VmHWM counts this program alone. `ru_maxrss`, below, also counts the moment before exec, when the process
    # was still a copy of the one that started it: a small program that a large one starts would seem as large.
    try:
        with open("/proc/self/status") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * (1 if sys.platform == "darwin" else 1024)  # macOS counts bytes, others count kibibytes


def _cores():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
