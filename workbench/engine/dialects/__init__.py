"""One file a kind of export: each turns what it reads into the nouns of `workbench.engine.report`."""
