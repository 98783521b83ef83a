"""Tables, cells and their settings, from YAML and the command line, without torch."""
