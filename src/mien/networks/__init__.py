"""Networks: builders of `torch.nn.Module`, and a catalog that lists them without importing torch."""
