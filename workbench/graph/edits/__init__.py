"""The surgery steps, one small file an edit."""
