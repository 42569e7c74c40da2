"""Which steps in which order: the graph, the settings, the lake and the command line."""
