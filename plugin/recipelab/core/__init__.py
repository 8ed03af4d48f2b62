"""The nouns everything else is built from: trials, recipes, errors, text, logs and content."""
