"""Images per second in evaluation: static networks as trained and merged, and dynamic ones, beside the plain network.

A merged network is the plain network that computes the same function as the static one.

python -m benchmarks.inference
"""

import functools

import tensorflow as tf

from benchmarks import measure
from benchmarks.train_step import Form, build
from neural_similarity.interop.merge import merge

PLAIN = ("baseline", "merged")
FORMS = (
    PLAIN,
    ("static_dns", "as trained"),
    ("static_dns", "merged"),
    ("static_uns", "as trained"),
    ("static_uns", "merged"),
    ("dynamic_dns", "released"),
    ("dynamic_dns", "as trained"),
    ("dynamic_uns", "released"),
    ("dynamic_uns", "as trained"),
)


def call_of(network, form, batch_size):
    """A function without arguments that computes the logits of one batch, and returns when they are there."""
    _, model = build(Form(network, "released" if form == "released" else "ours"))
    model = merge(model) if form == "merged" else model
    images = tf.random.Generator.from_seed(0).uniform((batch_size, *model.input_shape[1:]), maxval=255.0)
    return functools.partial(_call, tf.function(functools.partial(model, training=False)), images)


def _call(compiled, images):
    compiled(images).numpy()


def main(arguments=None):
    """The command line."""
    options = measure.parser(measure.first_line(__doc__), "inference", rounds=15).parse_args(arguments)
    seconds = measure.alternate({form: call_of(*form, options.batch_size) for form in FORMS}, options.rounds)
    times_of = {form: measure.summary(each) for form, each in seconds.items()}
    rows = [
        {
            **{"network": network, "form": form, **times},
            "images_per_s": options.batch_size / times["median_s"],
            "times_the_plain_network": times["median_s"] / times_of[PLAIN]["median_s"],
        }
        for (network, form), times in times_of.items()
    ]
    measure.report("inference", COLUMNS, rows, options)


COLUMNS = {
    "network": lambda row: f"{row['network']}, {row['form']}",
    "ms": measure.milliseconds,
    "images/s": lambda row: f"{row['images_per_s']:,.0f}",
    "× the plain network": measure.ratio("times_the_plain_network"),
}


if __name__ == "__main__":
    main()
