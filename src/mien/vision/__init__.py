"""Images: decoding, frames of videos and cameras, crops of faces, drawing. It knows neither torch nor models."""
