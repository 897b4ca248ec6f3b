"""Text to checked program: parse, load modules, resolve names, say all that is wrong."""
