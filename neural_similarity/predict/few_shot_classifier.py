"""A trained few-shot network as a classifier of somebody's own images, in scikit-learn's manner.

m support images · q queries · n classes · s height and width in pixels
"""

import logging
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from neural_similarity.families import load_run
from neural_similarity.families.few_shot import open_few_shot_run
from neural_similarity.families.few_shot_methods import method_of
from neural_similarity.predict.given import checked_images, checked_labels, images_at_once, pixels

_log = logging.getLogger("neural_similarity")


class FewShotClassifier:
    """Learns classes from a few images of each, with the network of a few-shot run.

    Images are a list of files or an array. Files may have any size: the middle square of an image is scaled to the
    network's size. An array is `(m, s, s, 3)` of numbers from 0 to 255, in RGB, where s is `image_size`.

    Every image is answered alone: the answer does not depend on the other images of a call. The tests of a run with
    `batch_norm.mode: batch` normalise the images of an episode together. For such a run the classifier takes the
    statistics of the support images instead, and a line of the log says so.

    Args:
        run: the run's folder. The newest checkpoint is taken.
        transductive: True normalises the images of a call together, as those tests do. Then pass many images at once,
            of all classes: the answers to a few images are poor. Memory grows with their number.

    Attributes:
        classes_: the labels that `fit` was given, each once, sorted: an array `(n,)`.

    Raises:
        UserError: `run` is no folder of a few-shot run, or the run has no checkpoint yet.
    """

    def __init__(self, run: str | Path, *, transductive: bool = False):
        config = open_few_shot_run(run).config
        self._run, self._model, self._transductive = run, load_run(run), transductive
        if transductive:
            together = config.batch_norm.model_copy(update={"mode": "batch"})
            config = config.model_copy(update={"batch_norm": together})
        elif config.batch_norm.mode == "batch":
            _log.warning(
                "%s: its tests normalise the images of an episode together (batch_norm.mode: batch). Here the "
                "statistics of the support images normalise every image, so that it is answered alone.",
                run,
            )
        self._method = method_of(config)
        self._answer = None  # of `fit`: from images to logits

    @property
    def image_size(self) -> int:
        """s, height and width of the network's images in pixels."""
        return self._model.input_shape[1]

    def fit(self, images, labels) -> "FewShotClassifier":
        """Learns the classes of labelled images, the support images. What was learned before is forgotten.

        A network that adapts (`method.name: maml`) does so here.

        Args:
            images: m images, as above. The classes may have different numbers of images.
            labels: m labels, texts or integers.

        Returns:
            The classifier itself.

        Raises:
            ValueError: the images or the labels are not as above; there are fewer than two classes; or a network of
                `method.name: maml` has another number of outputs than there are classes.
            UserError: a file cannot be read.
        """
        images = checked_images(images, self.image_size)
        classes, numbers = np.unique(checked_labels(labels, len(images)), return_inverse=True)
        config, n = self._method.config, len(classes)
        if config.method.name == "maml" and n != config.episode.n_way:
            raise ValueError(
                f"there are {n} classes; expected {config.episode.n_way}, as a network of `method.name: maml` has one "
                f"output for each class of `episode.n_way`. Next: images of {config.episode.n_way} classes, or a "
                f"network that was trained with --set episode.n_way={n}"
            )
        support = tf.constant(pixels(images, self.image_size))
        task = self._model, support, tf.constant(numbers, tf.int32)
        if self._transductive:
            self._answer = lambda queries: self._method.answer(*task, queries, n)
        else:
            self._answer = self._method.learn(*task, n)
        self.classes_ = classes
        return self

    def predict(self, images) -> np.ndarray:
        """The most likely class of each image.

        Args:
            images: q images, as above.

        Returns:
            `(q,)` labels, of the kind that `fit` was given.

        Raises:
            ValueError: the images are not as above, or `fit` was not called.
            UserError: a file cannot be read.
        """
        probabilities = self.predict_proba(images)
        return self.classes_[np.argmax(probabilities, axis=-1)]

    def predict_proba(self, images) -> np.ndarray:
        """The probability of each class for each image.

        Images are read and computed in batches, so that memory does not grow with their number.

        Args:
            images: q images, as above.

        Returns:
            `(q, n)` float64, the classes in the order of `classes_`. The row of an image sums to 1.

        Raises:
            ValueError, UserError: as for `predict`.
        """
        self._check_fitted()
        images = checked_images(images, self.image_size)
        at_once = max(1, len(images)) if self._transductive else images_at_once(self.image_size)
        rows = np.empty((len(images), len(self.classes_)))
        for start in range(0, len(images), at_once):
            part = slice(start, start + at_once)
            logits = self._answer(tf.constant(pixels(images[part], self.image_size)))
            rows[part] = tf.nn.softmax(tf.cast(logits, tf.float64))
        return rows

    def merged(self) -> keras.Model:
        """The adapted network as plain Keras, which needs this package no more. For `method.name: maml` only.

        The similarity matrices are merged into the kernels, and the averages of batch normalisation are the statistics
        of the support images.

        Returns:
            A functional `keras.Model` from images `(b, s, s, 3)` in 0–255 to logits `(b, n)`, the classes in the order
            of `classes_`.

        Raises:
            ValueError: `fit` was not called; another method; a dynamic similarity, which depends on the image; or a
                transductive classifier, which has no averages.
        """
        from neural_similarity.interop.merge import merge  # here: nothing else needs it

        self._check_fitted()
        name = self._method.config.method.name
        if name != "maml":
            raise ValueError(
                f"{self._run}: `merged` is for `method.name: maml`, where `fit` adapts the network; this one is of "
                f"`{name}`. To export its features: python -m neural_similarity merge RUN --out features.keras"
            )
        if self._transductive:
            raise ValueError(f"{self._run}: cannot be merged with `transductive=True`. Next: leave it out")
        learned, adapted = self._answer, keras.models.clone_model(self._model)
        adapted.set_weights(self._model.get_weights())
        weights = {weight.path: weight for weight in adapted.trainable_variables}
        for path, value in learned.parameters.items():
            weights[path].assign(value)
        for weight, value in zip(adapted.non_trainable_variables, learned.averages, strict=True):
            weight.assign(value)
        return merge(keras.Model(adapted.input, adapted.get_layer("head").output))  # what learned rates stand behind

    def _check_fitted(self):
        if self._answer is None:
            raise ValueError("The classifier knows no classes yet. Next: classifier.fit(images, labels)")
