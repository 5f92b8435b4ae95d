"""Int8 after training: which layers bear it, how much is lost on labelled images, and which stay float so that it is little."""
