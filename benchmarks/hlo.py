"""The nine-fold arrays that are left in the memory of a train step compiled whole by XLA.

python -m benchmarks.hlo [--network dynamic_uns]
"""

import argparse
import math
import re

import tensorflow as tf

from benchmarks.train_step import DYNAMIC, Form, batch_of, build, update_of
from neural_similarity.layers import DynamicSimilarityConv2D

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?(?P<name>\S+) = (?P<type>\w+)\[(?P<shape>[\d,]*)\]\S* (?P<opcode>[\w-]+)\(")
_NO_ARRAY = ("parameter", "bitcast")


def optimized_hlo(function, *arguments):
    """The text of what XLA makes of `function(*arguments)` on this device."""
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")


def arrays(hlo, sizes):
    """(name, opcode, shape) of the arrays that a program writes into memory and that hold one of `sizes` numbers.

    What happens inside a fusion stays in registers; the fusions themselves are instructions of the entry computation.
    """
    entry = hlo[hlo.index("\nENTRY ") :]
    for line in entry.splitlines():
        found = _INSTRUCTION.match(line)
        if found and found["opcode"] not in _NO_ARRAY:
            shape = tuple(int(size) for size in found["shape"].split(",") if size)
            if math.prod(shape) in sizes:
                yield found["name"], found["opcode"], shape


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hlo", description=__doc__.split("\n")[0])
    parser.add_argument("--network", choices=DYNAMIC, default="dynamic_dns", help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="images (default: %(default)s)")
    options = parser.parse_args(arguments)
    config, model = build(Form(options.network, "compiled"))
    hlo = optimized_hlo(update_of(config, model), batch_of(options.batch_size))
    dynamic = [layer for layer in model.layers if isinstance(layer, DynamicSimilarityConv2D)]
    ninefold = {9 * options.batch_size * math.prod(layer.input.shape[1:]) for layer in dynamic}
    found = list(arrays(hlo, ninefold))
    for name, opcode, shape in found:
        print(f"{opcode:12} {'×'.join(map(str, shape)):20} {name}")
    print(f"{len(found)} arrays as large as nine images of a layer, {len(dynamic)} dynamic layers")


if __name__ == "__main__":
    main()
