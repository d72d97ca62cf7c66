"""The training wing: a recipe and a `FaceDataset` -> a bundle. The only wing that runs torch all day."""
