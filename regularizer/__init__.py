"""From a raw tomogram to a regularized one: total variation and DeepRegularizer."""
