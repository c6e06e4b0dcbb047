"""Maps real numbers to those that a potential is for."""

import tensorflow as tf

_LEAST = 1e-3  # how far from the border, where gradients are without bounds


def into_domain(x, domain):
    """Real numbers as numbers of a potential's domain, one by one and with the same order.

    Args:
        x: a tensor of any shape.
        domain: `"real"` leaves them; `"positive"` is softplus(x) + 1e-3; `"unit"` is a sigmoid from 1e-3 to 1 − 1e-3.

    Raises:
        ValueError: there is no such domain.
    """
    if domain == "real":
        return x
    if domain == "positive":
        return tf.nn.softplus(x) + _LEAST
    if domain == "unit":
        return _LEAST + (1 - 2 * _LEAST) * tf.sigmoid(x)
    raise ValueError(f'`domain` must be "real", "positive" or "unit". Received: {domain!r}')
