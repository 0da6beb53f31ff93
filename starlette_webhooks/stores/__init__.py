"""Where backends keep what they know: a package for each database."""
