"""What tests share: small models, places, holders of nodes, the graphs that were lowered."""
