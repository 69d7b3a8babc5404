"""The networks of DeepRegularizer: their layers, their weights, and what runs them fastest."""
