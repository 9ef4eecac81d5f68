"""One file a family of lints; each is a function from a `Scene` to findings."""
