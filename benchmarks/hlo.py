"""Lists the arrays of nine times an image that XLA leaves in memory when it compiles a whole train step.

Dynamic similarity needs the patches of an image, which are nine times as large for a 3×3 kernel. Where XLA fuses their
making with their use, no such array is written.

python -m benchmarks.hlo [--network dynamic_uns]
"""

import argparse
import math
import re

import tensorflow as tf

from benchmarks.measure import first_line
from benchmarks.train_step import DYNAMIC, Form, batch_of, build, update_of
from neural_similarity.layers import DynamicSimilarityConv2D

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?(?P<name>\S+) = (?P<type>\w+)\[(?P<shape>[\d,]*)\]\S* (?P<opcode>[\w-]+)\(")
_WRITES_NO_ARRAY = ("parameter", "bitcast")


def optimized_hlo(function, *arguments):
    """The program that XLA makes of `function(*arguments)` on this device, in its text form, HLO."""
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")


def arrays(hlo, sizes):
    """The arrays that a program writes into memory, if they hold as many numbers as one of `sizes` says.

    Only the program's entry computation is read. A fusion is one instruction there, and what is computed inside of it
    stays in registers.

    Args:
        hlo: what `optimized_hlo` returned.
        sizes: a set of numbers of elements, such as `{9 * 2 * 6 * 5 * 3}`.

    Yields:
        A (name, opcode, shape) for each array.
    """
    entry = hlo[hlo.index("\nENTRY ") :]
    for line in entry.splitlines():
        instruction = _INSTRUCTION.match(line)
        if instruction and instruction["opcode"] not in _WRITES_NO_ARRAY:
            shape = tuple(int(size) for size in instruction["shape"].split(",") if size)
            if math.prod(shape) in sizes:
                yield instruction["name"], instruction["opcode"], shape


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hlo", description=first_line(__doc__))
    parser.add_argument("--network", choices=DYNAMIC, default="dynamic_dns", help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="images per batch (default: %(default)s)")
    options = parser.parse_args(arguments)
    config, model = build(Form(options.network, "compiled"))
    hlo = optimized_hlo(update_of(config, model), batch_of(options.batch_size))
    dynamic = [layer for layer in model.layers if isinstance(layer, DynamicSimilarityConv2D)]
    ninefold = {9 * options.batch_size * math.prod(layer.input.shape[1:]) for layer in dynamic}
    found = list(arrays(hlo, ninefold))
    for name, opcode, shape in found:
        print(f"{opcode:12} {'×'.join(map(str, shape)):20} {name}")
    print(f"{len(found)} arrays of nine times a layer's input, in a network of {len(dynamic)} dynamic layers")


if __name__ == "__main__":
    main()
