"""Seconds from the start of a fresh process to its first prediction, and how many of them are TensorFlow's own import.

python -m benchmarks.first_prediction
"""

import json
import subprocess
import sys

from benchmarks import measure
from neural_similarity.config import REPOSITORY

NETWORKS = ("baseline", "static_dns", "dynamic_dns", "dynamic_uns")
_PROGRAM = """
import time
times = [time.perf_counter()]
from neural_similarity.quiet import import_tensorflow
import_tensorflow()
import keras
times.append(time.perf_counter())
from neural_similarity import config as configs
from neural_similarity.families import image_recognition
times.append(time.perf_counter())
import json, sys, numpy
config = configs.load(f"configs/cifar10/{sys.argv[1]}.yaml", environment={})
network = image_recognition.network(config, 10)
times.append(time.perf_counter())
images = numpy.zeros((int(sys.argv[2]), *network.input_shape[1:]), numpy.float32)
for _ in range(2):
    numpy.asarray(network(images, training=False))
    times.append(time.perf_counter())
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""
_PHASES = ("tensorflow_s", "package_s", "network_s", "first_s", "second_s")


def seconds(network, batch_size):
    """How long each phase took in a fresh process, by name."""
    command = [sys.executable, "-c", _PROGRAM, network, str(batch_size)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return dict(zip(_PHASES, json.loads(done.stdout), strict=True))


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "first_prediction", rounds=3)
    parser.set_defaults(batch_size=1)
    options = parser.parse_args(arguments)
    found = {network: [] for network in NETWORKS}
    for _ in range(options.rounds):
        for network, rounds in found.items():
            rounds.append(seconds(network, options.batch_size))
    rows = [{"network": network, **_median(rounds)} for network, rounds in found.items()]
    measure.report("first_prediction", COLUMNS, rows, options)


def _median(rounds):
    """The round whose time to the first prediction is the median."""
    return sorted(rounds, key=_until_first)[len(rounds) // 2]


def _until_first(row):
    return sum(row[phase] for phase in _PHASES[:-1])


COLUMNS = {
    "network": lambda row: row["network"],
    "s to the first prediction": lambda row: f"{_until_first(row):.2f}",
    "of which TensorFlow and Keras": lambda row: f"{row['tensorflow_s']:.2f}",
    "this package": lambda row: f"{row['package_s']:.2f}",
    "building the network": lambda row: f"{row['network_s']:.2f}",
    "the prediction": lambda row: f"{row['first_s']:.2f}",
    "the next prediction, s": lambda row: f"{row['second_s']:.3f}",
}


if __name__ == "__main__":
    main()
