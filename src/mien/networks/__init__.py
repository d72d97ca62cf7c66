"""The networks wing: builders of `torch.nn.Module`, and the catalog that names them without torch."""
