"""A static folder that classifies in the browser: page, model, detector and runtime. Nothing leaves the machine."""
