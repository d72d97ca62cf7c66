"""Images: decoding, frames of videos and cameras, crops of faces, drawing. It uses neither torch nor models."""
