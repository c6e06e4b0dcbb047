"""Lets a subclass of `Conv2D` have weights of its own."""


class ExtraWeights:
    """Creates, saves and loads the weights that a subclass of `Conv2D` has beside kernel and bias.

    `Conv2D` writes two arrays into a `.keras` file: its kernel, with the update of LoRA already added where LoRA is
    enabled, and its bias. Any other weight of a subclass would be lost. This class adds such weights to the file, each
    under the name of its attribute. `Conv2D` goes on to save kernel and bias in its own way.

    A subclass lists this class before `Conv2D`, names the attributes, and creates them in `add_extra_weights`:

        class StaticSimilarityConv2D(ExtraWeights, keras.layers.Conv2D):
            extra_weights = ("similarity_matrix",)

            def add_extra_weights(self):
                self.similarity_matrix = self.add_weight(...)
    """

    extra_weights = ()  # a layer need not have all of them

    def add_extra_weights(self):
        """Creates the weights. Kernel and bias are there already."""
        raise NotImplementedError

    def build(self, input_shape):
        """Creates kernel, bias and the extra weights."""
        # `Conv2D` would enable LoRA at once, and a layer that has LoRA takes no further weights.
        lora_rank, self.lora_rank = self.lora_rank, None
        try:
            super().build(input_shape)
            self.add_extra_weights()
        finally:  # where it raises too: Keras lets a model that it loads build its layers a second time, and goes on
            self.lora_rank = lora_rank
        if lora_rank:
            self.enable_lora(lora_rank, lora_alpha=self.lora_alpha)

    def save_own_variables(self, store):
        """Keras' hook: writes the layer's own arrays into `store`."""
        super().save_own_variables(store)
        for name, weight in self._extra_weights().items():
            store[name] = weight

    def load_own_variables(self, store):
        """Keras' hook: reads what `save_own_variables` wrote."""
        super().load_own_variables(store)
        for name, weight in self._extra_weights().items():
            weight.assign(store[name])

    def _extra_weights(self):
        return {name: getattr(self, name) for name in self.extra_weights if hasattr(self, name)}
