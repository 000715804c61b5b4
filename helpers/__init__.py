"""What the lessons share: data, models, training, evaluation, figures, exercises."""
