"""The networks of the course, as the lessons that teach them define them."""

from collections.abc import Sequence

from helpers.backend import keras, tf


@keras.saving.register_keras_serializable("helpers")
class Autoencoder(keras.Model):
    """An encoder and a decoder, one after the other.

    Images, shape [n, n_inputs], to codes, shape [n, code_size], to reconstructions, shape
    [n, n_inputs]; where the loss is a cross-entropy from logits, to their logits.
    """

    def __init__(self, encoder: keras.Layer, decoder: keras.Layer) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.built = encoder.built and decoder.built  # its weights can be loaded before any call

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Return the reconstructions of images, shape [n, n_inputs]."""
        return self.decoder(self.encoder(images))

    def get_config(self) -> dict[str, object]:
        """Return what Keras writes into a ``.keras`` file beside the weights."""
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}

    @classmethod
    def from_config(cls, config: dict[str, object]) -> "Autoencoder":
        """Return the autoencoder that a ``.keras`` file describes."""
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


def normal(stddev: float, seed: int) -> keras.Initializer:
    """Return an initialiser that draws from N(0, stddev²), differently for every layer."""
    return keras.initializers.RandomNormal(stddev=stddev, seed=keras.random.SeedGenerator(seed))


def he(seed: int) -> keras.Initializer:
    """Return an initialiser at the scale of He, Zhang, Ren and Sun (2015), as `normal` seeded."""
    return keras.initializers.HeNormal(seed=keras.random.SeedGenerator(seed))


def glorot(seed: int) -> keras.Initializer:
    """Return an initialiser at the scale of Glorot and Bengio (2010), as `normal` seeded."""
    return keras.initializers.GlorotUniform(seed=keras.random.SeedGenerator(seed))


def dense_stack(
    n_inputs: int,
    units: Sequence[int],
    *,
    initializer: keras.Initializer,
    last: str | None = None,
    activation: str | None = "relu",
) -> keras.Sequential:
    """Return dense layers, one after the other, each with so many units.

    The initialiser draws the weights, biases start at 0.  The last layer has the activation
    ``last``, every other ``activation``; None is the identity.
    """
    activations = [activation] * (len(units) - 1) + [last]
    layers = [
        keras.layers.Dense(size, activation=function, kernel_initializer=initializer)
        for size, function in zip(units, activations, strict=True)
    ]
    return keras.Sequential([keras.Input([n_inputs]), *layers])


def basic_autoencoder(
    n_inputs: int,
    code_size: int,
    *,
    initializer: keras.Initializer,
    activation: str | None = "relu",
) -> Autoencoder:
    """Return the autoencoder of lesson 2: a code with an activation, or none, and linear output."""
    return Autoencoder(
        dense_stack(n_inputs, [code_size], initializer=initializer, last=activation),
        dense_stack(code_size, [n_inputs], initializer=initializer),
    )


def deep_autoencoder(
    n_inputs: int, hidden: Sequence[int], code_size: int, *, seed: int
) -> Autoencoder:
    """Return the autoencoder of lesson 3: hidden ReLU layers, linear code, logits as output.

    ``hidden`` has the units of the encoder's hidden layers; the decoder mirrors them.  The initial
    weights are Glorot's, Keras' default, drawn from the seed.
    """
    initializer = glorot(seed)
    return Autoencoder(
        dense_stack(n_inputs, [*hidden, code_size], initializer=initializer),
        dense_stack(code_size, [*reversed(hidden), n_inputs], initializer=initializer),
    )
