"""One module a way: ``prepare(work, rows, **settings)`` returns a function that trains.

The function makes one step for each row of ``rows`` (row numbers of a mini-batch, shape [steps,
batch_size]), going on from where its last call ended, and returns the losses, shape [steps], or
their mean, shape [1].  Its first call starts from ``work.weights()``.
"""
