"""What leaves the workbench: the report."""
