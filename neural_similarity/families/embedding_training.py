"""The step of a training whose loss compares the embeddings of a batch with each other."""

import tensorflow as tf

TRAINING_LOSS = "similarity_loss"


def embedding_loss(loss, network, optimizer, seed, penalised=(), weight_decay=0.0):
    """The function `loss(batch)` of `training.loop.gradient_step`, of inputs and their labels.

    Args:
        loss: a `losses.EmbeddingLoss`.
        network: from inputs to embeddings.
        optimizer: its number of updates, with the seed, is the key of the loss's random choices.
        seed: an integer.
        penalised, weight_decay: variables, and the factor of Σw²/2 over them, which is added as `penalty`.
    """

    def of_batch(batch):
        inputs, labels = batch
        embeddings, labels = gathered(network(inputs, training=True)), gathered(labels)
        key = tf.stack([seed, tf.cast(optimizer.iterations, tf.int32)])
        found, measured = loss.measure(embeddings, labels, key)
        terms = {TRAINING_LOSS: found}
        if weight_decay:
            terms["penalty"] = penalty(penalised, weight_decay)
        return tf.add_n(list(terms.values())), {**terms, **measured}

    return of_batch


def penalty(variables, weight_decay):
    """weight_decay · Σw²/2, a float32 scalar."""
    return weight_decay * tf.add_n([tf.nn.l2_loss(tf.cast(v, tf.float32)) for v in variables])


def gathered(x):
    """The parts of all replicas in one tensor, since a loss compares every image of a batch with every other one.

    Every replica then computes the loss of the whole batch. The gradient of its own part adds up what all replicas ask
    for, each a share of it (`training.loop.gradient_step`).
    """
    count = tf.distribute.get_strategy().num_replicas_in_sync
    if count == 1:
        return x
    # `all_gather` fails where each worker has one device. So each replica puts its part into zeros, at its own place,
    # and the sum over the replicas has all parts.
    context = tf.distribute.get_replica_context()
    own_place = tf.one_hot(context.replica_id_in_sync_group, count, dtype=x.dtype)
    parts = tf.reshape(own_place, (count, *[1] * x.shape.rank)) * x
    return tf.reshape(context.all_reduce(tf.distribute.ReduceOp.SUM, parts), (count * x.shape[0], *x.shape[1:]))
