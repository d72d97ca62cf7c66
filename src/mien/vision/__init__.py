"""The seeing wing: bytes -> pixels -> faces -> crops, and drawing. It knows neither torch nor models."""
