"""The largest batch whose train step adds no more than a given amount of memory: the released form beside ours.

python -m benchmarks.memory [--gigabytes 4] [--ours]
"""

import dataclasses

from benchmarks import measure
from benchmarks.train_step import Form, two_steps

NETWORKS = ("baseline", "dynamic_dns", "nsl_fspherenet", "dynamic_uns")
KINDS = (("released",), ("ours",), ("ours", "mixed_bfloat16"))
FORMS = tuple(Form(network, *kind) for network in NETWORKS for kind in KINDS)
_MULTIPLE = 8  # images


def largest_batch(form, limit_bytes, batch_size):
    """Finds the largest batch, a multiple of 8 images, that stays within the limit.

    Memory grows almost in proportion to the batch, so the next size to try is estimated from the last measurement. The
    search ends where the estimate is a size that was already tried. Each measurement runs in a fresh process.

    Args:
        form: a `Form`.
        limit_bytes: how much memory the step may add.
        batch_size: the first size to try.

    Returns:
        (images, bytes that they add); (0, 0) if not even 8 images fit.
    """
    fits, too_much = {0: 0}, {}
    batch_size = max(batch_size // _MULTIPLE, 1) * _MULTIPLE
    while batch_size not in fits and batch_size not in too_much:
        added = measure.added_memory_bytes(two_steps, form, batch_size)
        (fits if added is not None and added <= limit_bytes else too_much)[batch_size] = added
        estimate = int(batch_size * limit_bytes / added) if added else batch_size // 2
        below, above = max(fits), min(too_much, default=None)
        batch_size = max(estimate // _MULTIPLE * _MULTIPLE, below + _MULTIPLE)
        if above is not None and batch_size >= above:
            batch_size = max(above - _MULTIPLE, below)
    return max(fits), fits[max(fits)]


def main(arguments=None):
    """The command line."""
    parser = measure.parser(measure.first_line(__doc__), "memory")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="what a step may add (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS, metavar="NETWORK", help="these alone")
    parser.add_argument("--ours", action="store_true", help="leave out the released form, which takes longest")
    options = parser.parse_args(arguments)
    rows = []
    for form in FORMS:
        if form.network not in options.only or (options.ours and form.kind != "ours"):
            continue
        images, added = largest_batch(form, options.gigabytes * 1e9, options.batch_size)
        rows.append({**dataclasses.asdict(form), "largest_batch_size": images, "added_memory_bytes": added})
    measure.report("memory", COLUMNS, rows, options)


COLUMNS = {
    "step": lambda row: f"{row['network']}, {row['kind']}",
    "precision": lambda row: row["precision"],
    "largest batch, images": lambda row: f"{row['largest_batch_size']:,}",
    "GB": lambda row: f"{row['added_memory_bytes'] / 1e9:.2f}",
}


if __name__ == "__main__":
    main()
