"""What the lessons share: data, models, training, evaluation, figures, and the runner."""
