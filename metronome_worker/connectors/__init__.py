"""One file per kind of connector, and the codecs and processors they use."""
