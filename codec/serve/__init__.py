"""blob, over a network -> answer: the server around the codecs."""
